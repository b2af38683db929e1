"""Test that training sees pictures the right way up, whatever else cameras wrote into them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camera_files import DAMAGED, ONLY_XMP, TROUBLES, TURNED, exif, picture_file
from ganserve_training.config import FolderConfig
from ganserve_training.data.image_decoding import decode_picture
from image_files import random_pixels

STORED = random_pixels(1, side=8)[0][:6]  # 6 high, 8 wide.


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("orientation", TURNED)
def test_pictures_are_turned_as_their_tag_says(orientation: int, trouble: str) -> None:
    for form in ("PNG", "WEBP"):
        picture = decode_picture(picture_file(STORED, exif(orientation, trouble), form))
        np.testing.assert_array_equal(np.asarray(picture), TURNED[orientation](STORED), err_msg=form)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_photographs_are_turned_too(trouble: str) -> None:
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 48, axis=0)[..., None].repeat(3, axis=2)
    picture = np.asarray(decode_picture(picture_file(ramp, exif(6, trouble), "JPEG"))).astype(int)
    assert np.abs(picture - TURNED[6](ramp)).max() <= 8


@pytest.mark.parametrize("tags", DAMAGED)
def test_damaged_tags_leave_a_picture_as_it_is_stored(tags: bytes) -> None:
    np.testing.assert_array_equal(np.asarray(decode_picture(picture_file(STORED, tags))), STORED)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_orientation_outside_exif_turns_nothing(form: str) -> None:
    picture = decode_picture(picture_file(STORED, form=form, xmp=ONLY_XMP))
    np.testing.assert_array_equal(np.asarray(picture), STORED)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_mean_nothing_turn_nothing(orientation: int) -> None:
    np.testing.assert_array_equal(np.asarray(decode_picture(picture_file(STORED, exif(orientation, "none")))), STORED)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiff_files_are_turned_once(compression: str | None) -> None:
    stream = io.BytesIO()
    Image.fromarray(STORED).save(stream, "TIFF", compression=compression, tiffinfo={0x0112: 6})
    np.testing.assert_array_equal(np.asarray(decode_picture(stream.getvalue())), TURNED[6](STORED))


def test_a_folder_of_such_photographs_is_read_whole(tmp_path: Path) -> None:
    square = STORED[:, :6]
    for number, trouble in enumerate(TROUBLES):
        (tmp_path / f"{number}.png").write_bytes(picture_file(square, exif(3, trouble)))
    pixels = FolderConfig(path=str(tmp_path)).load(None).read(np.arange(len(TROUBLES)))
    for item in pixels:
        np.testing.assert_array_equal(item, TURNED[3](square))
