"""Read tables of pixels in CSV, one image a row. N = images, D = pixels of an image.

Known forms: `label,pixel0,pixel1,…`; the same without a header, with the label first, last or absent; `label,pixels`
with all pixels in one value, separated by spaces.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.label_table import (
    LABELS,
    SPLITS,
    column_among,
    delimiter_of,
    is_training,
    is_zipped,
    open_table,
    other_splits,
)
from ganserve_training.data.origin import PassedOver
from ganserve_training.errors import DataError
from ganserve_training.files import reading

_SMALLEST = 64
"""Pixels of the smallest image, 8 x 8."""
_NUMBERING = ("", "id", "index", "unnamed: 0")
_TEXT = "pixels"
_BLOCK_BYTES = 2**26


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelTable:
    """The training rows of a table of pixels."""

    pixels: NDArray[Any]
    """Numbers, [N, D]."""
    labels: NDArray[Any] | None
    """Integers or text, [N]; None: there are none."""
    label_name: str
    """The column of labels, in words."""
    passed_over: tuple[PassedOver, ...]
    """Rows of other splits."""


def read_pixel_table(path: Path, label_column: str | None = None) -> PixelTable:
    """Return the images of a table, gzipped or not.

    Args:
        path: The table.
        label_column: The column of labels; None: the one with a usual name, or without a header the one that counts.

    Raises:
        DataError: It is damaged, its columns are no square image, or it lacks the column of labels.
    """
    table, named = _read(path)
    columns = table.column_names
    if label_column is not None and label_column not in columns:
        raise DataError(f"--data.label-column {label_column}: {path} has no such column (it has: {_few(columns)})")
    keep, passed_over = _training_rows(table, columns)
    if keep is not None:
        table = table.filter(keep)
    label = label_column or (column_among(columns, LABELS) if named else None)
    if _TEXT in columns:
        pixels = _from_text(table.column(_TEXT).to_pylist(), path)
    else:
        skipped = {label, column_among(columns, SPLITS), *(name for name in columns if name.lower() in _NUMBERING)}
        values = [name for name in columns if name not in skipped]
        if label is None and not _is_square(len(values)) and _is_square(len(values) - 1):
            label = _unnamed_label(table, path)
            values.remove(label)
        pixels = _numbers(table.select(values), path)
    labels = None if label is None else np.asarray(table.column(label).to_pylist())
    told = "" if label is None else f"column {label}" if named else f"column {columns.index(label) + 1}"
    return PixelTable(pixels=pixels, labels=labels, label_name=told, passed_over=tuple(passed_over))


def _read(path: Path) -> tuple[Any, bool]:
    """Return a pyarrow.Table, and whether its columns have names."""
    try:
        import pyarrow as pa
        from pyarrow import csv
    except ImportError as error:
        raise DataError("CSV files of pixels need pyarrow: pip install 'ganserve[training]'") from error
    with reading(path, "a CSV file"):
        with open_table(path) as text:
            first = text.readline().strip()
        delimiter = delimiter_of(first)
        named = _names_columns(first.split(delimiter))
        with pa.input_stream(str(path), compression="gzip" if is_zipped(path) else None) as stream:
            # A row longer than a block is refused.
            options = csv.ReadOptions(autogenerate_column_names=not named, block_size=_BLOCK_BYTES)
            table = csv.read_csv(stream, options, csv.ParseOptions(delimiter=delimiter))
    if not table.num_rows:
        raise DataError(f"{path} holds no rows")
    return table.rename_columns([name.strip() for name in table.column_names]), named


def _training_rows(table: Any, columns: Sequence[str]) -> tuple[list[bool] | None, list[PassedOver]]:
    """Return which rows to take, None for all, and what is passed over."""
    split = column_among(columns, SPLITS)
    values = [] if split is None else [str(value) for value in table.column(split).to_pylist()]
    keep = [is_training(value) for value in values]
    if not any(keep):
        return None, []
    return keep, other_splits(Counter(value for value, kept in zip(values, keep, strict=True) if not kept))


def _from_text(rows: Sequence[Any], path: Path) -> NDArray[Any]:
    """Return the pixels of rows that hold them as numbers separated by spaces."""
    with reading(path, "rows of pixels"):
        images = [np.array(str(row).split(), np.float64) for row in rows]
        sizes = Counter(map(len, images))
        if len(sizes) > 1 or not _is_square(len(images[0])):
            raise DataError(
                f"{path}: the column {_TEXT} must hold square images of one size (got {_few(sizes)} pixels)"
            )
        return np.stack(images)


def _numbers(table: Any, path: Path) -> NDArray[Any]:
    """Return the columns as numbers, [N, D]."""
    import pyarrow as pa

    count = table.num_columns
    texts = [
        item.name for item in table.schema if not (pa.types.is_integer(item.type) or pa.types.is_floating(item.type))
    ]
    if texts or not _is_square(count):
        problem = f", such as {texts[0]}, hold text" if texts else f" hold {count:,} numbers, no square image"
        raise DataError(
            f"{path}: its columns{problem}. A CSV file must have a row of pixels for each image, with a column of "
            f"labels or none, or the columns file and label (it has: {_few(table.column_names)}). Vectors must be in a "
            ".npy or .npz file of floats [N, D]"
        )
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def _unnamed_label(table: Any, path: Path) -> str:
    """Return the column of labels of a table without header, the first or the last: text, or numbers from 0 or 1 on."""
    found = []
    for name in (table.column_names[0], table.column_names[-1]):
        values = np.unique(table.column(name).to_numpy().astype(object))
        if isinstance(values[0], str):
            return str(name)
        if len(values) > 1 and values.min() in (0, 1) and values.max() - values.min() == len(values) - 1:
            found.append(name)
    if len(found) != 1:
        raise DataError(
            f"{path} has no header, and either its first or its last column could hold labels: name the columns in a "
            "first line, such as label,pixel0,pixel1"
        )
    return str(found[0])


def _is_square(count: int) -> bool:
    return count >= _SMALLEST and math.isqrt(count) ** 2 == count


def _names_columns(values: Sequence[str]) -> bool:
    """Return whether a first line names columns: by words, or as pandas does, by 0, 1, 2, …."""
    numbers = [value for text in values if (value := _number(text)) is not None]
    if 2 * len(numbers) < len(values):
        return True
    return len(numbers) > 2 and numbers[0] in (0, 1) and np.array_equal(np.diff(numbers), np.ones(len(numbers) - 1))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _few(names: Any) -> str:
    names = list(map(str, names))
    return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
