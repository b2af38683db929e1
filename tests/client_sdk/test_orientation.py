"""Pictures that are scored are turned as training turns them, in whatever form they are given."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import tiny_packages
from camera_files import DAMAGED, ONLY_XMP, TROUBLES, TURNED, exif, picture_file
from ganserve._commands.score import main as score
from ganserve._results.picture_file import PictureFile

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Api

STORED = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)


@pytest.mark.parametrize("orientation", TURNED)
def test_every_form_of_a_picture_gets_the_score_of_the_upright_one(
    api: Api, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], orientation: int
) -> None:
    file = picture_file(STORED, exif(orientation, "exposure bias of -2/0"))
    path = tmp_path / "photo.png"
    path.write_bytes(file)
    upright = TURNED[orientation](STORED)
    (expected,) = tiny_packages.CONDITIONAL.scores(upright[None], np.array([1]))
    opened = Image.open(io.BytesIO(file))
    for given in ([file], [bytearray(file)], path, [io.BytesIO(file)], opened, upright.copy()):
        assert api.score(given, 1, model="tiny").scores.tolist() == [expected]
    assert score([str(path), "--label", "1", "--model", "tiny", "--target", server, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert np.float32(told["scores"]).tolist() == [expected]
    np.testing.assert_array_equal(PictureFile.read(path).pixels, upright[None])


@pytest.mark.parametrize("trouble", TROUBLES)
def test_other_tags_do_no_harm(tmp_path: Path, trouble: str) -> None:
    (tmp_path / "photo.png").write_bytes(picture_file(STORED, exif(6, trouble)))
    np.testing.assert_array_equal(PictureFile.read(tmp_path / "photo.png").pixels, TURNED[6](STORED)[None])


@pytest.mark.parametrize("tags", DAMAGED)
def test_damaged_tags_leave_a_picture_as_it_is_stored(tmp_path: Path, tags: bytes) -> None:
    (tmp_path / "photo.png").write_bytes(picture_file(STORED, tags))
    np.testing.assert_array_equal(PictureFile.read(tmp_path / "photo.png").pixels, STORED[None])


def test_an_orientation_outside_exif_turns_nothing_as_on_the_server(api: Api, tmp_path: Path) -> None:
    file = picture_file(STORED, xmp=ONLY_XMP)
    path = tmp_path / "photo.png"
    path.write_bytes(file)
    np.testing.assert_array_equal(PictureFile.read(path).pixels, STORED[None])
    (expected,) = tiny_packages.CONDITIONAL.scores(STORED[None], np.array([1]))
    for given in ([file], Image.open(path)):
        assert api.score(given, 1, model="tiny").scores.tolist() == [expected]
