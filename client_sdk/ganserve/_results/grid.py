"""Grid pictures: where each sample lies, how the picture is made, and how the samples are cut out of it again."""

# N = samples, H = height, W = width, C = channels (of one sample)

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve._calls.number_checks import check_integer
from ganserve._errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ganserve._results.batch import SampleBatch

CHUNK = "ganserve.grid"
FORMAT = 1
MAX_CHUNK_BYTES = 2**20  # what Pillow reads of a compressed text chunk
MAX_PIXELS = 80_000_000  # a little below where Pillow warns of a decompression bomb

_GAP = 2
_SMALLEST_TILE = 28
_MOST_COLUMNS_OF_A_ROW = 32  # of a label, or of a walk, before it is wrapped
_BACKGROUND = 96  # between the black and the white that samples often have at their borders


@dataclass(frozen=True, slots=True)
class Source:
    """Where a picture came from, as the errors about it say."""

    argument: str = "images"
    """The argument that it was given as."""
    file: str | None = None
    """The file that it was read from."""

    def refuse(self, description: str) -> InvalidRequest:
        """The error for this picture."""
        return InvalidRequest.of(self.argument, description if self.file is None else f"{self.file!r} {description}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A grid picture's description, which travels inside it as JSON."""

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

    @property
    def pixel_size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        height = self.rows * (self.height * self.scale + self.gap) - self.gap
        width = self.columns * (self.width * self.scale + self.gap) - self.gap
        return height, width

    def compose(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The picture, uint8 [height, width, C], of images uint8 [N, H, W, C]."""
        picture = np.full((*self.pixel_size, self.channels), _BACKGROUND, np.uint8)
        if self.channels in (2, 4):
            picture[..., -1] = 0  # gaps and empty cells are transparent
        for image, (top, left) in zip(images, self._corners(), strict=True):
            tile = image.repeat(self.scale, axis=0).repeat(self.scale, axis=1)
            picture[top : top + len(tile), left : left + tile.shape[1]] = tile
        return picture

    def cut(self, picture: npt.NDArray[np.uint8], source: Source) -> npt.NDArray[np.uint8]:
        """The images, uint8 [N, H, W, C], of a picture uint8 [height, width, C].

        Raises:
            InvalidRequest: The picture has been changed since it was written.
        """
        expected = (*self.pixel_size, self.channels)
        if picture.shape != expected:
            raise source.refuse(
                f"was changed since ganserve wrote it: it is {_size(picture.shape)}, and was {_size(expected)}; "
                "score the file as it was written, or save it without its text chunk to score it as one sample",
            )
        images = np.empty((self.count, self.height, self.width, self.channels), np.uint8)
        for image, (top, left) in zip(images, self._corners(), strict=True):
            bottom, right = top + self.height * self.scale, left + self.width * self.scale
            image[:] = picture[top : bottom : self.scale, left : right : self.scale]
        return images

    def to_json(self) -> str:
        """The text of the picture's chunk."""
        described: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        start, stop = self.indices[0], self.indices[-1] + 1
        if self.indices == tuple(range(start, stop)):  # as is usual; the list would be most of the text
            described |= {"indices": None, "offset": start}
        if self.labels is not None and self.label_names is not None:
            described["label_names"] = dict(sorted(set(zip(map(str, self.labels), self.label_names, strict=True))))
        return json.dumps(described, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, source: Source) -> Grid:
        """The description of a chunk's text.

        Raises:
            InvalidRequest: Ganserve did not write this chunk, or a later version of it did.
        """
        try:
            described = json.loads(text)
            if described.pop("format") != FORMAT:
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
            raise source.refuse(f"has a {CHUNK} chunk that makes no sense ({error!r})") from error
        return grid

    def _check(self) -> None:
        sizes = (self.height, self.width, self.channels, self.count, self.columns, self.rows, self.scale)
        if any(type(size) is not int or size < 1 for size in sizes) or type(self.gap) is not int or self.gap < 0:
            raise ValueError("sizes must be positive")
        if math.prod(self.pixel_size) > MAX_PIXELS:
            raise ValueError("too large")
        for values in (self.cells, self.labels, self.label_names, self.indices):
            if values is not None and len(values) != self.count:
                raise ValueError("the lists must have one entry a sample")
        cells = range(self.count) if self.cells is None else self.cells
        if not all(0 <= cell < self.rows * self.columns for cell in cells):
            raise ValueError("a cell outside the picture")

    def _corners(self) -> list[tuple[int, int]]:
        """Top and left pixel of each sample."""
        step_y, step_x = self.height * self.scale + self.gap, self.width * self.scale + self.gap
        cells = range(self.count) if self.cells is None else self.cells
        return [(cell // self.columns * step_y, cell % self.columns * step_x) for cell in cells]


def default_scale(height: int, width: int) -> int:
    """How much samples of this size are enlarged, so that tiny ones can be seen."""
    return max(1, math.ceil(_SMALLEST_TILE / min(height, width)))


def check_count(count: int, height: int, width: int) -> None:
    """Check, before they are drawn, that so many samples of this size make one picture.

    Raises:
        InvalidRequest: They don't, however they are arranged.
    """
    scale = default_scale(height, width)
    if count * height * width * scale**2 > MAX_PIXELS:
        raise _too_many(count)


def _too_many(count: int) -> InvalidRequest:
    most = f"{MAX_PIXELS // 10**6} megapixels"
    return InvalidRequest.of("samples", f"are {count}, too many for one picture of {most} at most: save each of them")


def arrange(batch: SampleBatch, *, columns: int | None, scale: int | None, gap: int = _GAP) -> Grid:
    """The grid of a batch of images, which stay in their order, along the rows.

    Where the labels come one after the other, each starts a row; samples of given latents, such as a walk, are one row.

    Raises:
        InvalidRequest: An argument is wrong, the batch is empty, or the picture would be too large.
    """
    count, height, width, channels = batch.images.shape
    if not count:
        raise InvalidRequest.of("batch", "is empty; expected at least one sample to make a picture of")
    if scale is None:
        scale = default_scale(height, width)
    labels = None if batch.labels is None else tuple(batch.labels.tolist())
    columns = None if columns is None else check_integer("columns", columns, 1, MAX_PIXELS)
    cells: tuple[int, ...] | None = None
    square = math.ceil(math.sqrt(count))
    if batch.seed is not None and labels is not None and _grouped(labels):
        columns, rows, cells = _rows_by_label(labels, columns)
    else:
        usual = max(square, _MOST_COLUMNS_OF_A_ROW) if batch.seed is None else square
        columns = min(columns or usual, count)
        rows = math.ceil(count / columns)
    grid = Grid(
        height=height,
        width=width,
        channels=channels,
        count=count,
        columns=columns,
        rows=rows,
        scale=check_integer("scale", scale, 1, MAX_PIXELS),
        gap=gap,
        cells=cells,
        labels=labels,
        label_names=batch.label_names,
        model=batch.model,
        version=batch.version,
        seed=batch.seed,
        indices=tuple(batch.indices.tolist()),
    )
    if math.prod(grid.pixel_size) > MAX_PIXELS or len(grid.to_json().encode()) > MAX_CHUNK_BYTES:
        raise _too_many(count)
    return grid


def _grouped(labels: Sequence[int]) -> bool:
    """Whether there are several labels, each of which comes in one piece."""
    pieces = 1 + sum(a != b for a, b in itertools.pairwise(labels))
    return pieces == len(set(labels)) > 1


def _rows_by_label(labels: Sequence[int], columns: int | None) -> tuple[int, int, tuple[int, ...]]:
    """Columns, rows and each sample's cell where each label starts a row of its own; the labels are grouped."""
    counts = Counter(labels)
    if columns is None:
        columns = min(max(counts.values()), _MOST_COLUMNS_OF_A_ROW)
    first_row: dict[int, int] = {}
    rows = 0
    for label, count in counts.items():
        first_row[label] = rows
        rows += math.ceil(count / columns)
    cells = tuple(first_row[label] * columns + i for label, count in counts.items() for i in range(count))
    return columns, rows, cells


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]} with {shape[2]} channels"
