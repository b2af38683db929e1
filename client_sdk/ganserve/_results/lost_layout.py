"""Find the samples of a grid picture that has lost its layout, as every JPEG, WebP and stripped PNG of one has."""

# N = samples, H = height, W = width, C = channels (of one sample)

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ganserve._results.grid_layout import GAP, default_scale
from ganserve._results.grid_picture import BACKGROUND, Grid
from ganserve._results.input_source import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_SCALES = range(1, 17)
_EMPTY_LEVELS = 12  # by which an encoder may change an empty cell


def lost_layout(pixels: npt.NDArray[np.uint8], shape: Sequence[int], count: int | None) -> Grid | None:
    """Return the grid of a picture without captions, None if its size or its empty cells are not those of a grid.

    Args:
        pixels: The whole picture, uint8 [height, width, C], where C may differ from that of `shape`.
        shape: H, W and C of the model's samples.
        count: N, if it is known.
    """
    height, width = shape[0], shape[1]
    if pixels.shape[:2] == (height, width):
        return None
    for scale in (default_scale(height, width), *_SCALES):
        (rows, below), (columns, right) = (
            divmod(size + GAP, each * scale + GAP) for size, each in zip(pixels.shape[:2], (height, width), strict=True)
        )
        if below or right or rows * columns < 2:
            continue
        every = Grid(
            height=height,
            width=width,
            channels=pixels.shape[2],
            count=rows * columns,
            columns=columns,
            rows=rows,
            scale=scale,
            gap=GAP,
            cells=None,
            labels=None,
            label_names=None,
            model="",
            version=0,
            seed=None,
            indices=tuple(range(rows * columns)),
        )
        cells = _occupied(every.cut(pixels, Source()))
        if len(cells) > 1 and count in (None, len(cells)):
            return replace(every, channels=shape[2], count=len(cells), cells=cells, indices=tuple(range(len(cells))))
    return None


def _occupied(cells: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    """Return which images, of uint8 [N, H, W, C], are not empty."""
    colours = cells[..., : 1 if cells.shape[-1] == 2 else 3]  # without opacity
    differences = np.abs(colours.astype(np.int16) - BACKGROUND).reshape(len(cells), -1).max(axis=1)
    return tuple(np.flatnonzero(differences > _EMPTY_LEVELS).tolist())
