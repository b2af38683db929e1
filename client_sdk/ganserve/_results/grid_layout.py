"""Choose the rows and columns of a grid picture."""

# N = samples, H = height, W = width, C = channels (of one sample)

import itertools
import math
from collections import Counter
from collections.abc import Sequence

from ganserve._argument_checks import check_integer
from ganserve._errors import InvalidRequest
from ganserve._results.batch_fields import Drawn
from ganserve._results.grid_picture import MAX_CHUNK_BYTES, MAX_PIXELS, Grid

GAP = 2
"""Pixels between cells."""
_SMALLEST_TILE = 28
_MOST_COLUMNS_OF_A_ROW = 32  # of a label, or of a walk, before it continues in the next row


def default_scale(height: int, width: int) -> int:
    """Return how much to enlarge samples of this size, so that tiny ones can be seen."""
    return max(1, math.ceil(_SMALLEST_TILE / min(height, width)))


def check_count(count: int, height: int, width: int, scale: int | None = None) -> None:
    """Check, before samples are drawn, that `count` of this size fit in one picture, in some layout."""
    scale = scale or default_scale(height, width)
    if count * height * width * scale**2 > MAX_PIXELS:
        raise _too_many(count)


def _too_many(count: int) -> InvalidRequest:
    most = f"{MAX_PIXELS // 10**6} megapixels"
    return InvalidRequest.of("samples", f"are {count}, too many for one picture of {most} at most: save each of them")


def arrange(batch: Drawn, *, columns: int | None, scale: int | None, gap: int = GAP) -> Grid:
    """Return the grid of a batch of images; see `SampleBatch.save_grid` for their places."""
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
    check_size(grid)
    return grid


def check_size(grid: Grid) -> None:
    """Refuse a grid that is too large for a picture."""
    if math.prod(grid.pixel_size) > MAX_PIXELS or len(grid.to_json().encode()) > MAX_CHUNK_BYTES:
        raise _too_many(grid.count)


def _grouped(labels: Sequence[int]) -> bool:
    """Return whether there are several labels, each in one piece."""
    pieces = 1 + sum(a != b for a, b in itertools.pairwise(labels))
    return pieces == len(set(labels)) > 1


def _rows_by_label(labels: Sequence[int], columns: int | None) -> tuple[int, int, tuple[int, ...]]:
    """Return columns, rows and each sample's cell, with a new row for each of the grouped labels."""
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
