"""Draw pictures of image samples: one row per label."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganserve_training.files import write_atomically, writing

_TILE_SIDE_PX = 48  # small images are enlarged to about this
_GAP_PX = 2
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def sample_grid(pixels: NDArray[np.uint8], columns: int) -> Image.Image:
    """Place images uint8 [N, H, W, C], C from 1 to 4, in rows of `columns`; enlarge small ones without smoothing."""
    count, height, width, channels = pixels.shape
    scale = max(1, _TILE_SIDE_PX // max(height, width))
    tiles = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    rows = -(-count // columns)
    pitch_y, pitch_x = height * scale + _GAP_PX, width * scale + _GAP_PX
    canvas = np.full((rows * pitch_y + _GAP_PX, columns * pitch_x + _GAP_PX, channels), 64, np.uint8)
    for index, tile in enumerate(tiles):
        top = index // columns * pitch_y + _GAP_PX
        left = index % columns * pitch_x + _GAP_PX
        canvas[top : top + height * scale, left : left + width * scale] = tile
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas, _MODES[channels])


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG, atomically."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))


def save_sample_grid(path: Path, pixels: NDArray[np.uint8], columns: int) -> None:
    """Write `sample_grid` as a PNG, atomically."""
    save_picture(path, sample_grid(pixels, columns))
