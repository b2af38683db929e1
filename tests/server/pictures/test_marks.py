"""Test the marks of pictures that the server encodes."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from ganserve._marks.files import xmp_of
from ganserve._marks.mark import DIGITAL_SOURCE_TYPE, Mark
from ganserve._marks.xmp import read_mark
from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.models.package_files import manifest_digest
from ganserve_server.pictures.marks import Marking
from ganserve_server.requests.limits import Limits
from ganserve_server.requests.sample_plan import plan_sample
from ganserve_server.service import GanService
from in_core import core
from picture_models import JPEG, PNG, WEBP, sample
from tiny_packages import CODES, TinyModel, build_tiny_package
from tiny_styles import STYLE, W, build_style_package

if TYPE_CHECKING:
    from pathlib import Path

ODD_NAMES = ('"', "<&>'\n\t\x01\ud7ff\ufffe", "ü" * 300, "\U0001f600" * 256, "&" * 256)


def mark_of(file: bytes) -> Mark | None:
    with Image.open(io.BytesIO(file)) as image:
        image.load()
        mark, source_type = read_mark(xmp_of(image.info))
    assert source_type == DIGITAL_SOURCE_TYPE
    return mark


@pytest.mark.parametrize("encoding", [PNG, JPEG, WEBP])
def test_each_file_says_what_it_takes_to_draw_it_again(gan: GanService, encoding: int) -> None:
    selection = gan_service_pb2.Selection(method=1, max_proposals_per_sample=3)
    answer = sample(gan, model="labelled", seed=2**64 - 1, offset=7, count=5, encoding=encoding, selection=selection)
    assert answer.package_sha256 == gan.get_model(gan_service_pb2.GetModelRequest(model="labelled")).package_sha256
    for place, file in enumerate(answer.samples.images.files):
        assert mark_of(file) == Mark(
            model="labelled",
            version=1,
            package_sha256=answer.package_sha256,
            seed=2**64 - 1,
            index=7 + place,
            label_index=answer.label_indices[place],
            label=answer.label_names[place],
            options='{"selection":{"max_proposals_per_sample":3,"method":"SELECTION_METHOD_BEST_OF_N"}}',
        )


def test_the_digest_is_that_of_the_manifest(tmp_path: Path) -> None:
    folder = build_tiny_package(tmp_path)
    with core(tmp_path) as gan:
        assert sample(gan, encoding=PNG).package_sha256 == sample(gan).package_sha256 == manifest_digest(folder)


def test_options_and_given_latents_are_marked(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, model=CODES)
    with core(tmp_path) as gan:
        answer = sample(gan, count=1, encoding=PNG, controls={"c0": 0.25}, truncation=0.5)
        mark = mark_of(answer.samples.images.files[0])
        assert mark is not None
        assert mark.options == '{"controls":{"c0":0.25},"truncation":0.5}'
        latents = np.arange(6, dtype="<f4").reshape(2, 3) / 8
        tensor = tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_FLOAT32, shape=latents.shape, data=latents.tobytes())
        request = gan_service_pb2.SampleRequest(count=2, latents=tensor, label_indices=[1], encoding=PNG)
        files = asyncio.run(gan.sample(request)).samples.images.files
        for file, latent in zip(files, latents, strict=True):
            mark = mark_of(file)
            assert mark is not None
            assert (mark.seed, mark.index, mark.label_index, mark.options) == (None, None, 1, "")
            np.testing.assert_array_equal(np.frombuffer(mark.latents, "<f4"), latent)


def test_given_ws_are_marked(tmp_path: Path) -> None:
    build_style_package(tmp_path)
    w = np.random.default_rng(0).standard_normal((2, STYLE.layers, W)).astype("<f4")
    tensor = tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_FLOAT32, shape=w.shape, data=w.tobytes())
    request = gan_service_pb2.SampleRequest(count=2, seed=4, offset=3, w=tensor, label_indices=[1], encoding=PNG)
    with core(tmp_path) as gan, gan.repository.lease("", 0) as leased:
        files = asyncio.run(gan.sample(request)).samples.images.files
        bound = plan_sample(leased, request, Limits()).bytes_per_sample
    for place, (file, own) in enumerate(zip(files, w, strict=True)):
        mark = mark_of(file)
        assert mark is not None
        assert (mark.seed, mark.index, mark.complete, mark.w) == (4, 3 + place, True, own.tobytes())
        assert len(file) <= bound


@pytest.mark.parametrize("encoding", [PNG, JPEG, WEBP])
def test_marks_can_be_switched_off(gan: GanService, encoding: int) -> None:
    bare = sample(gan, model="rgb", encoding=encoding, unmarked=True).samples.images.files
    marked = sample(gan, model="rgb", encoding=encoding).samples.images.files
    for file, with_mark in zip(bare, marked, strict=True):
        with Image.open(io.BytesIO(file)) as image, Image.open(io.BytesIO(with_mark)) as other:
            assert not xmp_of(image.info)
            np.testing.assert_array_equal(np.asarray(image), np.asarray(other))
    unmarking = GanService(gan.repository, marking=Marking(on=False))
    assert sample(unmarking, model="rgb", encoding=encoding).samples.images.files == bare


@pytest.mark.parametrize("encoding", [PNG, JPEG, WEBP])
def test_callers_in_one_batch_get_their_own_marks_and_the_same_bytes_again(gan: GanService, encoding: int) -> None:
    def ask(seed: int) -> gan_service_pb2.SampleRequest:
        return gan_service_pb2.SampleRequest(model="rgb", seed=seed, count=3, encoding=encoding)

    async def together() -> list[Any]:
        return await asyncio.gather(*(gan.sample(ask(seed)) for seed in range(20)))

    for seed, answer in enumerate(asyncio.run(together())):
        marks = [mark_of(file) for file in answer.samples.images.files]
        assert [(mark.seed, mark.index) for mark in marks if mark] == [(seed, 0), (seed, 1), (seed, 2)]
        assert answer == asyncio.run(gan.sample(ask(seed)))


@pytest.mark.parametrize("encoding", [PNG, JPEG, WEBP])
def test_no_marked_file_is_larger_than_its_bound(tmp_path: Path, encoding: int) -> None:
    model = TinyModel(shape=(1, 1, 1), label_names=ODD_NAMES, latent_dimension=20_000)
    build_tiny_package(tmp_path, "a" * 128, model=model)
    with core(tmp_path) as gan, gan.repository.lease("", 0) as leased:
        drawn = gan_service_pb2.SampleRequest(
            seed=2**64 - 1, offset=2**48 - 5, count=5, label_indices=range(5), encoding=encoding, truncation=1e-300
        )
        values = np.random.default_rng(0).standard_normal(100_000).astype("<f4").tobytes()
        latents = tensor_pb2.Tensor(data_type=2, shape=[5, 20_000], data=values)
        given = gan_service_pb2.SampleRequest(count=5, label_indices=range(5), encoding=encoding, latents=latents)
        for request in (drawn, given):
            plan = plan_sample(leased, request, Limits())
            files = asyncio.run(gan.sample(request)).samples.images.files
            assert max(map(len, files)) + 6 + leased.info.label_bytes <= plan.bytes_per_sample
        mark = mark_of(files[0])
        assert mark is not None
        assert not mark.complete, "80,000 bytes of latents are more than a mark holds"
