"""Draw pictures of image samples: one row per label."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ganserve._marks.files import PNG_KEYWORD
from ganserve._marks.xmp import generated_xmp
from ganserve_training.files import write_atomically, writing

_TILE_SIDE_PX = 48  # small images are enlarged to about this
_GAP_PX = 2
_LETTER_PX = 12
_MOST_MARGIN_PX = 160
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def sample_grid(pixels: NDArray[np.uint8], columns: int, row_names: Sequence[str] = ()) -> Image.Image:
    """Place images uint8 [N, H, W, C], C from 1 to 4, in rows of `columns`; enlarge small ones without smoothing.

    Args:
        pixels: The images.
        columns: Images in a row.
        row_names: Names to write at the left of the rows; empty: none.
    """
    count, height, width, channels = pixels.shape
    scale = max(1, _TILE_SIDE_PX // max(height, width))
    tiles = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    rows = -(-count // columns)
    pitch_y, pitch_x = height * scale + _GAP_PX, width * scale + _GAP_PX
    names = _names(row_names, pitch_y, rows * pitch_y + _GAP_PX)
    margin = 0 if names is None else names.shape[1]
    canvas = np.full((rows * pitch_y + _GAP_PX, margin + columns * pitch_x + _GAP_PX, channels), 64, np.uint8)
    if names is not None:
        canvas[:, :margin] = names[..., np.newaxis]
        if channels in (2, 4):
            canvas[:, :margin, -1] = 255
    for index, tile in enumerate(tiles):
        top = index // columns * pitch_y + _GAP_PX
        left = margin + index % columns * pitch_x + _GAP_PX
        canvas[top : top + height * scale, left : left + width * scale] = tile
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas, _MODES[channels])


def _names(names: Sequence[str], pitch: int, height: int) -> NDArray[np.uint8] | None:
    """Return the margin with a name at the middle of each row, uint8 [height, margin]; None: there are no names."""
    if not names:
        return None
    font = ImageFont.load_default(_LETTER_PX)
    texts = [_plain(name) for name in names]
    margin = min(_MOST_MARGIN_PX, max(int(font.getlength(text)) for text in texts) + 3 * _GAP_PX)
    picture = Image.new("L", (margin, height), 64)
    pen = ImageDraw.Draw(picture)
    for row, text in enumerate(texts):
        pen.text((2 * _GAP_PX, row * pitch + (pitch - _LETTER_PX) // 2), text, fill=255, font=font)
    return np.asarray(picture)


def _plain(name: str) -> str:
    """Return a name in letters that Pillow's own font has."""
    letters = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    return "".join(letter if letter.isascii() else "?" for letter in letters if not unicodedata.combining(letter))


def save_picture(path: Path, picture: Image.Image, *, generated: bool) -> None:
    """Write a PNG, atomically; one of `generated` images says so in its XMP."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    marks = PngInfo()
    if generated:
        marks.add_itxt(PNG_KEYWORD, generated_xmp().decode())
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG", pnginfo=marks))


def save_sample_grid(
    path: Path, pixels: NDArray[np.uint8], columns: int, row_names: Sequence[str] = (), *, generated: bool
) -> None:
    """Write `sample_grid` as `save_picture` does."""
    save_picture(path, sample_grid(pixels, columns, row_names), generated=generated)
