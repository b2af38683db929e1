"""Test pictures from strangers: other formats, too many pixels, another size than the model's."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from commands import ganserve, said
from ganserve import Client, InvalidRequest
from ganserve._results.picture_file import PictureFile
from tiny_packages import CONDITIONAL

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("form", ["BMP", "TIFF", "GIF", "PPM", "ICO", "EPS"])
def test_other_formats_are_not_opened_whatever_the_name(server: str, tmp_path: Path, form: str) -> None:
    """Pillow would start Ghostscript for PostScript."""
    file = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(file, form)
    done = ganserve("score", file, "--label", "1", "--model", "tiny", "--target", server)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be read as a picture" in done.stderr
    with pytest.raises(InvalidRequest, match=r"picture: 'x.png' cannot be read as a picture; expected PNG, JPEG, WEBP"):
        PictureFile.read(file)


def png_of_zeros(side: int) -> bytes:
    """Return a small PNG file that says it has this size; its pixels are missing, since no reader comes to them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_decoding(server: str, tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(png_of_zeros(13_000))
    done = ganserve("score", file, "--fit", "--label", "1", "--model", "tiny", "--target", server)
    assert done.returncode == 2
    assert "13000x13000 pixels" in done.stderr
    assert "at most 64 million" in done.stderr
    with Client(server) as client, pytest.raises(InvalidRequest, match="is 13000x13000 pixels"):
        client.score(file.read_bytes(), 1, model="tiny")


def test_the_command_fits_pictures_only_on_request(server: str, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 20), (200, 10, 10)).save(file)
    words = ("score", file, "--label", "two", "--model", "tiny", "--json", "--target", server)
    refused = ganserve(*words)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "is 40x20 pixels; model 'tiny' takes 8x8" in refused.stderr
    assert "or add --fit to cut and resize it" in refused.stderr
    images, changed = PictureFile.read(file).samples((8, 8, 1), fit=True)
    assert changed
    (scored,) = json.loads(said(*words, "--fit"))
    assert scored["scores"] == pytest.approx(CONDITIONAL.scores(images, np.array([2])))


def test_the_sdk_fits_pictures_as_the_command_does_and_only_on_request(server: str, tmp_path: Path) -> None:
    photo, inks = tmp_path / "photo.jpg", tmp_path / "inks.jpg"
    Image.new("RGB", (40, 20), (200, 10, 10)).save(photo)
    Image.new("CMYK", (9, 30), (0, 200, 200, 10)).save(inks)
    with Client(server, model="tiny") as client:
        for file in (photo, inks):
            words = ("score", file, "--label", "two", "--model", "tiny", "--json", "--target", server)
            (scored,) = json.loads(said(*words, "--fit"))
            np.testing.assert_array_equal(client.score(file, "two", fit=True).scores, np.float32(scored["scores"]))
        with pytest.raises(InvalidRequest, match="is 40x20 pixels; model 'tiny' takes 8x8"):
            client.score(photo, "two")
        both = client.score([photo.read_bytes(), Image.open(inks)], "two", fit=True)
        streamed = list(client.score_stream([photo, inks], "two", fit=True))
        np.testing.assert_array_equal(both.scores, np.concatenate([each.scores for each in streamed]))


def test_a_grid_keeps_its_model_and_labels_when_it_is_fitted(server: str, tmp_path: Path) -> None:
    with Client(server) as client:
        grid = client.sample(3, model="tiny", seed=4).save_grid(tmp_path / "grid.png")
    words = ("score", grid, "--json", "--target", server)
    assert said(*words, "--fit") == said(*words)
