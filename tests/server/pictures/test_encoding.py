"""Test samples sent as float32 or as picture files."""

from __future__ import annotations

import asyncio
import functools
import io
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.errors import FailedPreconditionError, InvalidRequestError
from ganserve_server.pictures.encoding import as_float32, as_uint8, encoded_files
from ganserve_server.pictures.formats import most_bytes
from ganserve_server.pictures.threads import PictureThreads
from ganserve_server.requests.limits import Limits
from in_core import core
from picture_models import FLOAT32, JPEG, MODELS, PNG, WEBP, decoded, sample
from stubs import to_array
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from ganserve_server.service import GanService


@pytest.mark.parametrize("name", ["gray", "gray-alpha", "rgb", "rgba", "labelled"])
def test_png_is_lossless_and_in_order(gan: GanService, name: str) -> None:
    raw, encoded = sample(gan, model=name, count=200), sample(gan, model=name, count=200, encoding=PNG)
    images = encoded.samples.images
    assert images.encoding == PNG
    np.testing.assert_array_equal(np.stack([decoded(file) for file in images.files]), to_array(raw.samples.tensor))
    assert encoded.label_indices == raw.label_indices
    with Image.open(io.BytesIO(images.files[0])) as image:
        assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[MODELS[name].shape[-1]]


@pytest.mark.parametrize("encoding", [JPEG, WEBP])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_are_close_to_the_samples(encoding: int, channels: int) -> None:
    across, down = np.meshgrid(np.linspace(0, 3, 48), np.linspace(0, 2, 40))
    smooth = np.stack([np.sin(across + phase) * np.cos(down) for phase in range(channels)], axis=-1)
    images = np.rint((smooth[None] * [[[[1]]], [[[0.5]]]] + 1) * 127.5).astype(np.uint8)
    files = asyncio.run(encoded_files(PictureThreads(2), [images], encoding))
    for file, image in zip(files, images, strict=True):
        assert file[:4] == (b"RIFF" if encoding == WEBP else b"\xff\xd8\xff\xe0")
        seen = decoded(file).astype(float)
        assert np.abs(seen - image).mean() < 3
    assert files == asyncio.run(encoded_files(PictureThreads(1), [images[:1], images[1:]], encoding)), (
        "always the same file"
    )


def test_float32_is_value_over_255(gan: GanService) -> None:
    raw, shares = sample(gan, model="rgb"), sample(gan, model="rgb", encoding=FLOAT32)
    assert shares.samples.tensor.data_type == tensor_pb2.DATA_TYPE_FLOAT32
    expected = to_array(raw.samples.tensor).astype(np.float64) / 255
    np.testing.assert_array_equal(to_array(shares.samples.tensor), expected.astype(np.float32))
    vectors = sample(gan, model="vector", encoding=FLOAT32)
    assert vectors.samples == sample(gan, model="vector").samples


def test_conversion_to_float32_and_back_is_exact() -> None:
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(as_uint8(as_float32(levels)), levels)


@pytest.mark.parametrize("encoding", [PNG, JPEG, WEBP, FLOAT32])
def test_streams_are_encoded(gan: GanService, encoding: int) -> None:
    async def chunks() -> list[gan_service_pb2.SampleResponse]:
        drawn = gan_service_pb2.SampleRequest(model="rgb", seed=3, count=50, encoding=encoding)
        stream = gan_service_pb2.StreamSamplesRequest(request=drawn, chunk_size=17)
        return [response.chunk async for response in gan.stream_samples(stream)]

    answers, whole = asyncio.run(chunks()), sample(gan, model="rgb", count=50, encoding=encoding)
    assert [answer.offset for answer in answers] == [0, 17, 34]
    if encoding == FLOAT32:
        assert b"".join(answer.samples.tensor.data for answer in answers) == whole.samples.tensor.data
    else:
        files = [file for answer in answers for file in answer.samples.images.files]
        assert files == list(whole.samples.images.files)


def test_selected_samples_are_encoded_like_others(gan: GanService) -> None:
    best = gan_service_pb2.Selection(method=1, max_proposals_per_sample=4)
    raw, encoded = (sample(gan, model="rgb", selection=best, encoding=how) for how in (0, PNG))
    pixels = np.stack([decoded(file) for file in encoded.samples.images.files])
    np.testing.assert_array_equal(pixels, to_array(raw.samples.tensor))
    assert encoded.selection == raw.selection


@pytest.mark.parametrize("name", ["gray-alpha", "rgba"])
def test_jpeg_has_no_alpha(gan: GanService, name: str) -> None:
    with pytest.raises(
        FailedPreconditionError, match=r"alpha channel \(\d channels\), which ENCODING_JPEG cannot hold"
    ):
        sample(gan, model=name, encoding=JPEG)


def test_webp_has_a_largest_size(tmp_path: Any) -> None:
    build_tiny_package(tmp_path, model=TinyModel(shape=(2, 16_384, 1), label_names=()))
    with core(tmp_path) as gan:
        with pytest.raises(
            FailedPreconditionError, match=r"16384 x 2 pixels, ENCODING_WEBP holds at most 16383 a side"
        ):
            sample(gan, count=1, encoding=WEBP)
        assert decoded(sample(gan, count=1, encoding=PNG).samples.images.files[0]).shape == (2, 16_384, 1)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.integers(1, 4),
    encoding=st.sampled_from([PNG, JPEG, WEBP]),
    kind=st.sampled_from(["noise", "black", "white", "checkers"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_file_is_larger_than_its_bound(
    height: int, width: int, channels: int, encoding: int, kind: str, seed: int
) -> None:
    if encoding == JPEG and channels in {2, 4}:
        channels -= 1
    shape = (1, height, width, channels)
    images = {
        "noise": np.random.default_rng(seed).integers(0, 256, shape, np.uint8),
        "black": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "checkers": np.broadcast_to(np.indices(shape).sum(0) % 2 * 255, shape).astype(np.uint8),
    }[kind]
    (file,) = asyncio.run(encoded_files(PictureThreads(1), [images], encoding))
    assert len(file) + 6 <= most_bytes(_Info(shape[1:]), encoding)  # type: ignore[arg-type]


class _Info:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.sample_shape = shape
        self.sample_bytes = int(np.prod(shape))


@pytest.mark.parametrize("encoding", [PNG, JPEG, WEBP, FLOAT32])
def test_answers_and_chunks_keep_their_limits(gan: GanService, encoding: int) -> None:
    limits, gan.limits = gan.limits, Limits(max_response_bytes=2**17, max_chunk_bytes=2**15)
    try:
        with pytest.raises(InvalidRequestError, match="ask for at most") as caught:
            sample(gan, model="rgb", count=10_000, encoding=encoding)
        most = int(str(caught.value).split("at most ")[1].split(",")[0])
        answer = sample(gan, model="rgb", count=most, encoding=encoding)
        assert answer.samples.ByteSize() <= 2**17

        async def sizes() -> list[int]:
            drawn = gan_service_pb2.SampleRequest(model="rgb", count=100, encoding=encoding)
            stream = gan_service_pb2.StreamSamplesRequest(request=drawn)
            return [response.chunk.samples.ByteSize() async for response in gan.stream_samples(stream)]

        assert max(asyncio.run(sizes())) <= 2**15
    finally:
        gan.limits = limits


def test_many_files_are_made_on_other_threads_in_order() -> None:
    threads = set()

    def work(part: slice) -> list[int]:
        threads.add(threading.current_thread().name)
        return list(range(part.start, part.stop))

    workers = PictureThreads(3)
    for count in (0, 1, 2, 63, 64, 65, 1000):
        assert asyncio.run(workers.map(work, count, 1)) == list(range(count))
    assert asyncio.run(workers.map(work, 7, 2**30)) == list(range(7))
    assert threading.current_thread().name not in threads


def test_cancelling_drops_slices_that_have_not_started() -> None:
    begun, release, both = [], threading.Event(), threading.Event()

    def work(part: slice) -> list[int]:
        begun.append(part.start)
        if len(begun) == 2:
            both.set()
        assert release.wait(60)
        return [0] * (part.stop - part.start)

    async def scenario() -> None:
        task = asyncio.create_task(PictureThreads(2).map(work, 100, 2**30))
        assert await asyncio.to_thread(both.wait, 60)
        task.cancel()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)
        assert len(begun) == 2

    asyncio.run(scenario())


def test_callers_take_turns() -> None:
    threads, order, first, release = PictureThreads(1), [], threading.Event(), threading.Event()

    def work(caller: str, part: slice) -> list[int]:
        order.append(caller)
        first.set()
        assert release.wait(60)
        return list(range(part.start, part.stop))

    async def scenario() -> None:
        calls = [threads.of(caller).map(functools.partial(work, caller), 3, 2**30) for caller in "aaaaab"]
        tasks = [asyncio.create_task(call) for call in calls]
        assert await asyncio.to_thread(first.wait, 60)
        release.set()
        assert await asyncio.gather(*tasks) == [[0, 1, 2]] * 6

    asyncio.run(scenario())
    assert order.index("b") <= 2, "after the one that ran, and one more at most"
    assert len(order) == 18


def test_an_error_frees_its_thread() -> None:
    threads = PictureThreads(1)

    def fail(_part: slice) -> list[int]:
        raise ValueError("damaged")

    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            asyncio.run(threads.map(fail, 1, 1))
    assert asyncio.run(threads.map(lambda part: [part.start], 1, 1)) == [0]
