"""Make a grid picture of samples, and cut the samples out of it again, exactly."""

# N = samples, H = height, W = width, C = channels (of one sample)

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ganserve._results.input_source import Source

CHUNK = "ganserve.grid"
FORMAT = 1
CAPTIONED_FORMAT = 2
"""With space for captions, which earlier readers do not know."""
MAX_CHUNK_BYTES = 2**20  # what Pillow reads of a compressed text chunk
BACKGROUND = 96
"""Level of gaps and empty cells: neither black nor white, which samples often have at their borders."""
MAX_PIXELS = 80_000_000  # Pillow warns of a decompression bomb from 89 million on


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Describes a grid picture; stored in the picture as JSON."""

    height: int
    """H, of one sample."""
    width: int
    """W, of one sample."""
    channels: int
    """C, of one sample."""
    count: int
    """N."""
    columns: int
    """Cells in a row."""
    rows: int
    """Rows of cells."""
    scale: int
    """Pixels of the picture per pixel of a sample, in both directions."""
    gap: int
    """Pixels between cells."""
    cells: tuple[int, ...] | None
    """Each sample's cell, counted along the rows; None: sample i is in cell i."""
    labels: tuple[int, ...] | None
    """Each sample's label by index; None for unconditional models."""
    label_names: tuple[str, ...] | None
    """Each sample's label by name; None for unconditional models."""
    model: str
    """Name of the model."""
    version: int
    """Version of the model."""
    seed: int | None
    """The seed; None if the latents were given."""
    indices: tuple[int, ...]
    """Each sample's place in the seed's sequence."""
    left: int = 0
    """Pixels left of the cells, for the names of rows."""
    below: int = 0
    """Pixels below each cell, for its caption."""

    @property
    def pixel_size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        height = self.rows * (self.height * self.scale + self.below + self.gap) - self.gap
        width = self.left + self.columns * (self.width * self.scale + self.gap) - self.gap
        return height, width

    def compose(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the picture, uint8 [height, width, C], of images uint8 [N, H, W, C]."""
        picture = np.full((*self.pixel_size, self.channels), BACKGROUND, np.uint8)
        if self.channels in (2, 4):
            picture[..., -1] = 0  # gaps and empty cells are transparent
        for image, (top, left) in zip(images, self.corners(), strict=True):
            tile = image.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
            picture[top : top + len(tile), left : left + tile.shape[1]] = tile
        return picture

    def cut(self, picture: npt.NDArray[np.uint8], source: Source) -> npt.NDArray[np.uint8]:
        """Return the images, uint8 [N, H, W, C], of a picture uint8 [height, width, C]."""
        expected = (*self.pixel_size, self.channels)
        if picture.shape != expected:
            raise source.refuse(
                f"was changed since ganserve wrote it: it is {_size(picture.shape)}, and was {_size(expected)}; "
                "score the file as it was written, or save it without its text chunk to score it as one sample",
            )
        images = np.empty((self.count, self.height, self.width, self.channels), np.uint8)
        for image, (top, left) in zip(images, self.corners(), strict=True):
            bottom, right = top + self.height * self.scale, left + self.width * self.scale
            image[:] = picture[top : bottom : self.scale, left : right : self.scale]
        return images

    def to_json(self) -> str:
        """Return the text of the picture's chunk."""
        captioned = self.left or self.below
        described: dict[str, Any] = {"format": CAPTIONED_FORMAT if captioned else FORMAT, **asdict(self)}
        if not captioned:
            del described["left"], described["below"]
        start, stop = self.indices[0], self.indices[-1] + 1
        if self.indices == tuple(range(start, stop)):  # the usual case; the list would be most of the text
            described |= {"indices": None, "offset": start}
        if self.labels is not None and self.label_names is not None:
            described["label_names"] = dict(sorted(set(zip(map(str, self.labels), self.label_names, strict=True))))
        return json.dumps(described, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, source: Source) -> Grid:
        """Read the text of a picture's chunk."""
        try:
            described = json.loads(text)
            if described.pop("format") not in (FORMAT, CAPTIONED_FORMAT):
                raise source.refuse("was written by a later ganserve: pip install -U ganserve")
            offset = described.pop("offset", None)
            count = described["count"]
            if described["indices"] is None:
                described["indices"] = range(offset, offset + count)
            if described["label_names"] is not None:
                described["label_names"] = [described["label_names"][str(label)] for label in described["labels"]]
            for field in ("indices", "cells", "labels", "label_names"):
                described[field] = None if described[field] is None else tuple(described[field])
            grid = cls(**described)
            grid._check()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise source.refuse(f"has a {CHUNK} chunk that is damaged ({error!r})") from error
        return grid

    def _check(self) -> None:
        sizes = (self.height, self.width, self.channels, self.count, self.columns, self.rows, self.scale)
        spaces = (self.gap, self.left, self.below)
        if any(type(size) is not int or size < 1 for size in sizes) or any(type(s) is not int or s < 0 for s in spaces):
            raise ValueError("sizes must be positive")
        if math.prod(self.pixel_size) > MAX_PIXELS:
            raise ValueError("too large")
        for values in (self.cells, self.labels, self.label_names, self.indices):
            if values is not None and len(values) != self.count:
                raise ValueError("the lists must have one entry a sample")
        cells = range(self.count) if self.cells is None else self.cells
        if not all(0 <= cell < self.rows * self.columns for cell in cells):
            raise ValueError("a cell outside the picture")

    def corners(self) -> list[tuple[int, int]]:
        """Return the top and left pixel of each sample."""
        step_y = self.height * self.scale + self.below + self.gap
        step_x = self.width * self.scale + self.gap
        cells = range(self.count) if self.cells is None else self.cells
        return [(cell // self.columns * step_y, self.left + cell % self.columns * step_x) for cell in cells]


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]} with {shape[2]} channels"
