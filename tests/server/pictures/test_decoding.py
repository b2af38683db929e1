"""Test scoring of picture files."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from camera_files import DAMAGED, TROUBLES, TURNED, exif, picture_file
from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server import service as gan_module
from ganserve_server.errors import InvalidRequestError
from ganserve_server.pictures.threads import PictureThreads
from ganserve_server.requests.limits import Limits
from ganserve_server.sampling import drawing
from in_core import core
from picture_models import FLOAT32, JPEG, MODELS, PNG, WEBP, decoded, files, sample
from stubs import to_array, to_tensor
from tiny_packages import RGB, UNCONDITIONAL, build_tiny_package

if TYPE_CHECKING:
    from ganserve_server.service import GanService


NAMES = {PNG: "PNG", JPEG: "JPEG", WEBP: "WEBP"}


WITHOUT_ALPHA = ("gray", "rgb", "labelled")


def file_of(pixels: np.ndarray, encoding: int = PNG, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, NAMES[encoding], **options)
    return buffer.getvalue()


def scored(gan: GanService, name: str, samples: tensor_pb2.Samples) -> np.ndarray:
    labels = {"label_indices": [1]} if MODELS[name].label_names else {}
    answer = asyncio.run(gan.score(gan_service_pb2.ScoreRequest(model=name, samples=samples, **labels)))
    return np.float32(answer.scores)


def expected_scores(name: str, pixels: np.ndarray) -> np.ndarray:
    labels = np.ones(len(pixels), np.int64) if MODELS[name].label_names else None
    return MODELS[name].scores(pixels, labels)


def refused(gan: GanService, name: str, encoding: int, *content: bytes) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        scored(gan, name, files(encoding, *content))
    (violation,) = caught.value.violations
    assert violation.field == "samples.images.files"
    return violation.description


@pytest.mark.parametrize("name", ["gray", "gray-alpha", "rgb", "rgba", "labelled"])
def test_encoded_images_get_the_scores_of_raw_ones(gan: GanService, name: str) -> None:
    raw = sample(gan, model=name, count=150).samples
    expected = expected_scores(name, to_array(raw.tensor))
    np.testing.assert_array_equal(scored(gan, name, sample(gan, model=name, count=150, encoding=PNG).samples), expected)
    shares = sample(gan, model=name, count=150, encoding=FLOAT32).samples
    np.testing.assert_array_equal(scored(gan, name, shares), expected)


@pytest.mark.parametrize("encoding", [JPEG, WEBP])
@pytest.mark.parametrize("name", WITHOUT_ALPHA)
def test_lossy_files_are_scored_by_their_decoded_pixels(gan: GanService, name: str, encoding: int) -> None:
    sent = sample(gan, model=name, encoding=encoding).samples
    pixels = np.stack([decoded(file) for file in sent.images.files])
    if name != "rgb" and encoding == WEBP:  # which has no gray mode
        assert np.ptp(pixels.astype(int), axis=-1).max() <= 1
        pixels = pixels[..., 1:2]
    np.testing.assert_array_equal(scored(gan, name, sent), expected_scores(name, pixels))


def test_files_may_differ_if_the_picture_is_the_same(gan: GanService) -> None:
    gray = sample(gan, model="gray", count=1).samples.tensor
    pixels = to_array(gray)[0]
    opaque = np.full_like(pixels, 255)
    expected = expected_scores("gray", pixels[None])
    alike = [
        np.repeat(pixels, 3, axis=-1),
        np.concatenate([pixels, opaque], axis=-1),
        np.concatenate([pixels, pixels, pixels, opaque], axis=-1),
    ]
    for other in alike:
        np.testing.assert_array_equal(scored(gan, "gray", files(PNG, file_of(other))), expected)
    palette = io.BytesIO()
    Image.fromarray(pixels[..., 0]).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(palette, "PNG")
    np.testing.assert_array_equal(scored(gan, "gray", files(PNG, palette.getvalue())), expected)
    bilevel = io.BytesIO()
    Image.fromarray((pixels[..., 0] > 127).astype(np.uint8) * 255).convert("1").save(bilevel, "PNG")
    thresholded = (pixels > 127).astype(np.uint8) * 255
    found = scored(gan, "gray", files(PNG, bilevel.getvalue()))
    np.testing.assert_array_equal(found, expected_scores("gray", thresholded[None]))


def test_gray_files_fit_models_of_colours_and_alpha(gan: GanService) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (6, 10, 1), np.uint8)
    opaque = np.full_like(gray, 255)
    for name, parts in {"gray-alpha": [gray, opaque], "rgba": [gray, gray, gray, opaque]}.items():
        expected = expected_scores(name, np.concatenate(parts, axis=-1)[None])
        np.testing.assert_array_equal(scored(gan, name, files(PNG, file_of(gray))), expected)
    wide = np.random.default_rng(0).integers(0, 256, (16, 12, 1), np.uint8)
    answer = asyncio.run(
        gan.score(gan_service_pb2.ScoreRequest(model="rgb", samples=files(PNG, file_of(wide)), label_indices=[1]))
    )
    np.testing.assert_array_equal(
        np.float32(answer.scores), RGB.scores(np.repeat(wide, 3, axis=-1)[None], np.array([1]))
    )


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("orientation", TURNED)
def test_an_orientation_is_followed_among_any_other_tags(gan: GanService, orientation: int, trouble: str) -> None:
    height, width = (16, 12) if orientation < 5 else (12, 16)
    stored = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = picture_file(stored, exif(orientation, trouble))
    expected = expected_scores("rgb", TURNED[orientation](stored)[None])
    np.testing.assert_array_equal(scored(gan, "rgb", files(PNG, file)), expected)


def test_pictures_that_lie_are_refused_and_damaged_tags_are_not(gan: GanService) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)
    assert "is 16 x 12 pixels; expected 12 x 16" in refused(gan, "rgb", PNG, file_of(np.rot90(pixels).copy()))
    lying = picture_file(pixels, exif(6, "none"))
    assert "is 16 x 12 pixels; expected 12 x 16" in refused(gan, "rgb", PNG, lying)
    for tags in DAMAGED:
        found = scored(gan, "rgb", files(PNG, picture_file(pixels, tags)))
        np.testing.assert_array_equal(found, expected_scores("rgb", pixels[None]))


def test_errors_name_the_files_that_do_not_fit(gan: GanService) -> None:
    good, noise = file_of(np.zeros((8, 8, 1), np.uint8)), np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)
    large, tall = file_of(np.zeros((9, 8, 1), np.uint8)), file_of(np.zeros((90, 8, 1), np.uint8), WEBP)
    assert refused(gan, "gray", PNG, good, large).startswith("file 1 is 8 x 9 pixels; expected 8 x 8 (width x height)")
    assert refused(gan, "gray", PNG, good, large, good, large).startswith("file 1 (and 1 other is wrong too) is 8 x 9")
    assert "is 8 x 90 pixels" in refused(gan, "gray", WEBP, tall)
    assert "is not a WEBP file (" in refused(gan, "gray", WEBP, good)
    assert "is not a JPEG file (" in refused(gan, "gray", JPEG, good)
    assert "is not a PNG file (0 bytes)" in refused(gan, "gray", PNG, b"")
    assert "cannot be decoded as PNG" in refused(gan, "gray", PNG, file_of(noise)[:-40])
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[3, 3] = 10, 12, 10
    assert "has colours, the model's images are gray: convert" in refused(gan, "gray", PNG, file_of(colours))
    half = np.full((8, 8, 2), 254, np.uint8)
    assert "has transparent pixels, the model's images are gray" in refused(gan, "gray", PNG, file_of(half))
    deep = io.BytesIO()
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(deep, "PNG")
    assert "has more than 8 bits a channel; save it with 8" in refused(gan, "gray", PNG, deep.getvalue())
    print_colours = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(print_colours, "JPEG")
    assert "has the colours CMYK; expected gray or RGB" in refused(gan, "gray", JPEG, print_colours.getvalue())
    for encoding in (PNG, WEBP):
        moving = io.BytesIO()
        frames = [Image.new("L", (8, 8), shade) for shade in (0, 100)]
        frames[0].save(moving, NAMES[encoding], save_all=True, append_images=frames[1:])
        assert "is an animation; expected one picture a file" in refused(gan, "gray", encoding, moving.getvalue())


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG with this size in its header and almost no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def test_a_small_file_cannot_use_large_memory(gan: GanService, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a file of the wrong size was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    assert "is 2147483647 x 1 pixels" in refused(gan, "rgb", PNG, png_of_size(2**31 - 1, 1))
    assert "is 60000 x 60000 pixels" in refused(gan, "rgb", PNG, png_of_size(60_000, 60_000))
    canvas = (16_382).to_bytes(3, "little") * 2
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    monkeypatch.setattr("PIL.Image.open", never)
    assert "is 16383 x 16383 pixels" in refused(gan, "rgb", WEBP, webp)


def test_decoded_files_of_one_request_are_limited(gan: GanService) -> None:
    limits, gan.limits = gan.limits, Limits(max_decoded_bytes=5 * 64)
    try:
        good = file_of(np.zeros((8, 8, 1), np.uint8))
        assert len(scored(gan, "gray", files(PNG, *[good] * 5))) == 5
        message = refused(gan, "gray", PNG, *[good] * 6)
        assert message.startswith("has 6 files, at 64 bytes of pixels each more than the 320 bytes of one request")
        assert "at most 5 at a time" in message
    finally:
        gan.limits = limits


def test_decoded_files_of_all_requests_are_limited_together(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_package(tmp_path, "gray", model=UNCONDITIONAL)
    good, held, most = file_of(np.zeros((8, 8, 1), np.uint8)), 0, 0
    decode = gan_module.decoded_images

    async def counted(workers: PictureThreads, content: tuple[bytes, ...], *rest: Any) -> Any:
        nonlocal held, most
        held += len(content)
        most = max(most, held)
        return await decode(workers, content, *rest)

    async def score(*arguments: Any, **options: Any) -> Any:
        nonlocal held
        await asyncio.sleep(0.001)
        held -= len(arguments[1])
        return await drawing.score(*arguments, **options)

    monkeypatch.setattr(gan_module, "decoded_images", counted)
    monkeypatch.setattr(gan_module, "score", score)

    async def scenario(gan: GanService) -> None:
        message = gan_service_pb2.ScoreRequest(model="gray", samples=files(PNG, *[good] * 4))
        answers = await asyncio.gather(*(gan.score(message) for _ in range(30)))
        assert len({answer.SerializeToString() for answer in answers}) == 1

    with core(tmp_path, limits=Limits(max_decoded_bytes=10 * 64)) as gan:
        asyncio.run(scenario(gan))
    assert most == 8


SEEDS_OF_FILES = [
    file_of(np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8), encoding) for encoding in NAMES
]


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from(sorted(NAMES)),
    source=st.sampled_from(SEEDS_OF_FILES),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    tail=st.binary(max_size=8),
)
def test_no_file_makes_the_server_fail(
    gan: GanService, encoding: int, source: bytes, cut: float, changes: list[tuple[float, int]], tail: bytes
) -> None:
    hostile = bytearray(source)
    for place, value in changes:
        hostile[int(place * len(hostile))] = value
    if cut < 0.5:
        del hostile[int(2 * cut * len(hostile)) :]
    message = gan_service_pb2.ScoreRequest(
        model="rgb", samples=files(encoding, bytes(hostile) + tail), label_indices=[0]
    )
    try:
        asyncio.run(gan.score(message))
    except InvalidRequestError as error:
        assert [violation.field for violation in error.violations] == ["samples.images.files"]  # noqa: PT017


def test_float32_images_are_scored_by_the_nearest_level(gan: GanService) -> None:
    shares = np.random.default_rng(0).random((50, 8, 8, 1), np.float32)
    found = scored(gan, "gray", tensor_pb2.Samples(tensor=to_tensor(shares)))
    np.testing.assert_array_equal(found, expected_scores("gray", np.rint(shares * np.float32(255)).astype(np.uint8)))
