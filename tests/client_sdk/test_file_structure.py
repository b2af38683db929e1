"""Test that parts of picture files beside their pixels cost nothing."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from camera_files import TROUBLES, exif
from ganserve._marks.file_structure import StructureError, essential
from ganserve._marks.orientation import read_orientation
from image_files import encode, random_pixels

PIXELS = random_pixels(1)[0]
PNG = encode(PIXELS)
JPEG = encode(PIXELS, "JPEG")
HEAD = 8 + 25  # signature and IHDR


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def test_text_and_profiles_of_a_png_are_dropped_and_the_pixels_stay() -> None:
    bomb = zlib.compress(bytes(2**20), 9)
    extra = chunk(b"zTXt", b"a\0\0" + bomb) + chunk(b"iCCP", b"a\0\0" + bomb) + chunk(b"tEXt", b"a\0b")
    extra += chunk(b"iTXt", b"a\0\x01\0\0\0" + bomb)
    file = PNG[:HEAD] + extra * 1000 + PNG[HEAD:-12] + extra * 1000 + PNG[-12:]
    assert essential(file) == PNG


def test_what_the_pixels_depend_on_is_kept() -> None:
    palette = Image.fromarray(PIXELS).convert("P")
    palette.info["transparency"] = 3
    file = io.BytesIO()
    palette.save(file, "PNG", exif=exif(6, "none"), dpi=(72, 72))
    kept = essential(file.getvalue())
    assert kept != file.getvalue(), "without the resolution"
    with Image.open(io.BytesIO(kept)) as image, Image.open(file) as whole:
        assert np.array_equal(np.asarray(image.convert("RGBA")), np.asarray(whole.convert("RGBA")))
        assert read_orientation(image.info["exif"]) == 6
        assert "dpi" in whole.info
        assert "dpi" not in image.info


def test_texts_that_are_asked_for_are_kept_once() -> None:
    grid, xmp = chunk(b"iTXt", b"ganserve.grid\0\1\0\0\0a"), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0a")
    others = chunk(b"tEXt", b"ganserve.gridlock\0a") + chunk(b"iCCP", b"ganserve.grid\0a")
    file = PNG[:HEAD] + others + grid * 3 + xmp * 3 + PNG[HEAD:]
    assert essential(file, ("ganserve.grid", "XML:com.adobe.xmp")) == PNG[:HEAD] + grid + xmp + PNG[HEAD:]
    assert essential(file) == PNG
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0a")
    file = JPEG[:2] + xmp * 3 + EXIF + xmp + JPEG[2:]
    assert essential(file, ("any",)) == JPEG[:2] + xmp + EXIF + JPEG[2:]
    assert essential(file) == JPEG[:2] + EXIF + JPEG[2:]


@pytest.mark.parametrize("file", [PNG, PNG[:-5], PNG[:40], b"", b"GIF89a", PNG[:8] + b"\xff\xff\xff\xff"])
def test_other_files_stay_as_they_are(file: bytes) -> None:
    assert essential(file) == file


def test_many_chunks_are_refused() -> None:
    file = PNG[:HEAD] + chunk(b"tEXt", b"a\0b") * 10_000 + PNG[HEAD:]
    with pytest.raises(StructureError, match="has more than 10000 chunks"):
        essential(file)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data


EXIF = segment(0xE1, exif(6, "none"))
HIDING = b"\xff\0"
"""Pillow skips these bytes; who takes them for a segment skips up to 64 KiB after them, too."""


def test_only_what_the_pixels_of_a_jpeg_depend_on_is_kept() -> None:
    extra = (
        segment(0xFE, b"a") + segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(100)) + segment(0xE1, b"http://ns.adobe.com/")
    )
    extra += segment(0xE2, b"MPF\0") + segment(0xED, b"Photoshop 3.0\0") + segment(0xE1, b"Exif\0") + b"\xff\xff\0"
    file = JPEG[:2] + EXIF + extra * 20 + EXIF + JPEG[2:]
    kept = essential(file)
    assert kept == JPEG[:2] + EXIF + JPEG[2:]
    assert essential(JPEG) == JPEG
    progressive = encode(PIXELS, "JPEG", progressive=True)
    assert essential(progressive) == progressive


def test_no_length_is_read_otherwise_than_by_the_decoder() -> None:
    hidden = HIDING + EXIF * 1000
    assert essential(JPEG[:2] + HIDING + EXIF * 100 + JPEG[2:]) == JPEG[:2] + EXIF + JPEG[2:]
    with pytest.raises(StructureError, match="has more than 1000 segments"):
        essential(JPEG[:2] + hidden + JPEG[2:])


@pytest.mark.parametrize("file", [JPEG[:-5], JPEG[:40], JPEG[:3], b"", b"GIF89a", PNG])
def test_other_files_and_cut_ones_are_left_to_the_decoder(file: bytes) -> None:
    assert essential(file) == file


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (JPEG[:2] + segment(0xFE, b"a") * 1000 + JPEG[2:], "has more than 1000 segments"),
        (JPEG[:2] + b"\xff" * 1000 + JPEG[2:], "has more than 1000 segments"),
        (JPEG[:2] + segment(0xDB, bytes(65)) * 990 + JPEG[2:], "has more than 65536 bytes of tables"),
        (JPEG[:2] + b"\xff\xfe\0\1" + JPEG[2:], "is damaged: it has the bytes fffe0001"),
        (JPEG[:2] + segment(0xF0, b"a") + JPEG[2:], "is damaged"),
        (JPEG + b"\xff\xda" * 100, "has more than 100 scans"),
    ],
)
def test_jpegs_that_would_cost_much_are_refused(file: bytes, message: str) -> None:
    with pytest.raises(StructureError, match=message):
        essential(file)


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_among_any_tags(orientation: int, trouble: str) -> None:
    assert read_orientation(exif(orientation, trouble)) == orientation


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_may_be_a_long_number(order: str) -> None:
    start = b"II*\0" if order == "<" else b"MM\0*"
    data = start + struct.pack(f"{order}IHHHII", 8, 1, 0x0112, 4, 1, 6)
    assert read_orientation(data) == 6


@pytest.mark.parametrize("data", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"MM\0*\0\0\0\x08\xff\xff", exif(9, "none")])
def test_damaged_data_mean_upright(data: bytes) -> None:
    assert read_orientation(data) == 1
