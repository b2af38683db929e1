"""Test that Pillow reads what `png_files` writes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ganserve_server.pictures.png_files import png_files


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 33)])
def test_pillow_reads_the_same_pixels(size: tuple[int, int], channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *size, channels), np.uint8)
    for image, file in zip(images, png_files(images), strict=True):
        with Image.open(io.BytesIO(file)) as picture:
            assert picture.format == "PNG"
            picture.load()
            assert picture.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
            assert np.array_equal(np.asarray(picture).reshape(image.shape), image)
