"""Write labels and scores beside the samples of a grid picture, with the font that Pillow brings."""

# N = samples, C = channels

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve._errors import InvalidRequest
from ganserve._results.grid_layout import check_size

if TYPE_CHECKING:
    import numpy.typing as npt

    from ganserve._results.batch_fields import Drawn
    from ganserve._results.grid_picture import Grid

_SMALLEST_PX, _LARGEST_PX = 10, 28
_LETTERS_OF_A_TILE = 8  # Width of a tile in letters, unless it is small.
_WIDEST_NAME = 14  # heights of a line
_PAD = 4
_LIGHT = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Captions:
    """Texts of a grid."""

    rows: dict[int, str]
    """The label of each row that begins one; empty: rows are not labels."""
    cells: tuple[tuple[str, ...], ...]
    """Lines below each sample, N."""
    height_px: int
    """Height of the letters."""

    @property
    def left(self) -> int:
        """Pixels that the names of rows need at the left."""
        if not self.rows:
            return 0
        return max(_width(self._font, self._fit_name(name)) for name in self.rows.values()) + 2 * _PAD

    @property
    def below(self) -> int:
        """Pixels that the lines below a sample need."""
        return self._line * max(map(len, self.cells)) + (2 if any(self.cells) else 0)

    def draw(self, picture: npt.NDArray[np.uint8], grid: Grid) -> npt.NDArray[np.uint8]:
        """Return the picture of a grid, uint8 [height, width, C], with the texts."""
        from PIL import Image, ImageDraw

        mask = Image.new("L", (picture.shape[1], picture.shape[0]))
        pen: Any = ImageDraw.Draw(mask)
        tile_height, tile_width = grid.height * grid.scale, grid.width * grid.scale
        for row, name in self.rows.items():
            top = row * (tile_height + grid.below + grid.gap) + (tile_height - self._line) // 2
            pen.text((_PAD, max(0, top)), self._fit_name(name), fill=_LIGHT, font=self._font)
        for lines, (top, left) in zip(self.cells, grid.corners(), strict=True):
            for number, line in enumerate(lines):
                text = _fit(self._font, line, tile_width)
                x = left + max(0, tile_width - _width(self._font, text)) // 2
                pen.text((x, top + tile_height + number * self._line), text, fill=_LIGHT, font=self._font)
        if grid.channels in (2, 4):  # On a transparent ground, light letters would vanish on a white page.
            outside = np.ones(picture.shape[:2], bool)
            for top, left in grid.corners():
                outside[top : top + tile_height, left : left + tile_width] = False
            picture = picture.copy()
            picture[outside, -1] = _LIGHT
        share = np.asarray(mask, np.float32)[..., None] / _LIGHT
        return np.rint(picture + (_LIGHT - picture) * share).astype(np.uint8)

    @property
    def _font(self) -> Any:
        from PIL import ImageFont

        return ImageFont.load_default(self.height_px)

    @property
    def _line(self) -> int:
        return round(self.height_px * 1.25)

    def _fit_name(self, name: str) -> str:
        return _fit(self._font, name, _WIDEST_NAME * self.height_px)


def captioned(grid: Grid, batch: Drawn) -> tuple[Grid, Captions]:
    """Return the grid of a batch with space for captions, and these: labels' names and scores.

    Names are beside the rows if rows are labels, else below each sample.

    Raises:
        InvalidRequest: The samples have neither labels nor scores, or the picture would be too large.
    """
    names, scores = batch.label_names, batch.scores
    if names is None and scores is None:
        expected = "these samples have neither labels nor scores; expected samples drawn with return_scores=True"
        raise InvalidRequest.of("captions", f"have nothing to show: {expected}")
    rows: dict[int, str] = {}
    if names is not None and grid.cells is not None:
        first = dict(reversed(list(zip(names, grid.cells, strict=True))))
        rows = {cell // grid.columns: name for name, cell in first.items()}
    below = None if rows else names
    cells = tuple(
        (*(() if below is None else (below[i],)), *(() if scores is None else (f"{scores[i]:+.2f}",)))
        for i in range(grid.count)
    )
    height = min(_LARGEST_PX, max(_SMALLEST_PX, grid.width * grid.scale // _LETTERS_OF_A_TILE))
    captions = Captions(rows=rows, cells=cells, height_px=height)
    grid = replace(grid, left=captions.left, below=captions.below)
    check_size(grid)
    return grid, captions


def _width(font: Any, text: str) -> int:
    return int(np.ceil(font.getlength(text)))


def _fit(font: Any, text: str, width: int) -> str:
    """Return a text in letters that the font has, or as much of its beginning as fits."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    text = "".join(letter if letter.isascii() else "?" for letter in plain if not unicodedata.combining(letter))
    if _width(font, text) <= width:
        return text
    return next((short for end in range(len(text) - 1, 0, -1) if _width(font, short := text[:end]) <= width), text[:1])
