"""Test that parts of picture files beside their pixels cost nothing."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from camera_files import TROUBLES, exif
from ganserve_server.pictures.file_structure import StructureError, check_jpeg, essential_png
from ganserve_server.pictures.orientation import read_orientation
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
    assert essential_png(file) == PNG


def test_what_the_pixels_depend_on_is_kept() -> None:
    palette = Image.fromarray(PIXELS).convert("P")
    palette.info["transparency"] = 3
    file = io.BytesIO()
    palette.save(file, "PNG", exif=exif(6, "none"), dpi=(72, 72))
    kept = essential_png(file.getvalue())
    assert kept != file.getvalue(), "without the resolution"
    with Image.open(io.BytesIO(kept)) as image, Image.open(file) as whole:
        assert np.array_equal(np.asarray(image.convert("RGBA")), np.asarray(whole.convert("RGBA")))
        assert read_orientation(image.info["exif"]) == 6
        assert "dpi" in whole.info
        assert "dpi" not in image.info


@pytest.mark.parametrize("file", [PNG, PNG[:-5], PNG[:40], b"", b"GIF89a", PNG[:8] + b"\xff\xff\xff\xff"])
def test_other_files_stay_as_they_are(file: bytes) -> None:
    assert essential_png(file) == file


def test_many_chunks_are_refused() -> None:
    file = PNG[:HEAD] + chunk(b"tEXt", b"a\0b") * 10_000 + PNG[HEAD:]
    with pytest.raises(StructureError, match="has more than 10000 chunks"):
        essential_png(file)


def test_segments_and_scans_of_a_jpeg_are_bounded() -> None:
    comment = b"\xff\xfe\0\x03a"
    check_jpeg(JPEG)
    check_jpeg(encode(PIXELS, "JPEG", progressive=True))
    check_jpeg(JPEG[:2] + comment * 900 + JPEG[2:])
    with pytest.raises(StructureError, match="has more than 1000 segments"):
        check_jpeg(JPEG[:2] + comment * 1000 + JPEG[2:])
    with pytest.raises(StructureError, match="has more than 100 scans"):
        check_jpeg(JPEG + b"\xff\xda" * 100)


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_among_any_tags(orientation: int, trouble: str) -> None:
    assert read_orientation(exif(orientation, trouble)) == orientation


@pytest.mark.parametrize("data", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"MM\0*\0\0\0\x08\xff\xff", exif(9, "none")])
def test_damaged_data_mean_upright(data: bytes) -> None:
    assert read_orientation(data) == 1
