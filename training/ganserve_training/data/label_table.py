"""Read tables of files and labels in CSV, and find out what the columns of a table mean."""

from __future__ import annotations

import csv
import gzip
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ganserve_training.data.image_decoding import ENDINGS as PICTURE_ENDINGS
from ganserve_training.data.layouts.split_names import split_of
from ganserve_training.data.origin import PassedOver
from ganserve_training.errors import DataError
from ganserve_training.files import reading

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
"""Endings of tables, in lower case."""
FILES = (
    *("file", "filename", "filepath", "path", "image", "imagefile", "imagepath", "imagename", "imageid"),
    *("img", "imgpath", "imgname", "imgid", "picture", "photo", "name", "id"),
)
"""Names of a column of files, likely ones first, in lower case and without what stands between words."""
LABELS = (
    *("label", "labels", "class", "classname", "category", "categoryname", "target", "y", "emotion", "digit"),
    *("breed", "species", "type", "labelname"),
)
"""Names of a column of labels, likely ones first, in the same form."""
SPLITS = ("split", "usage", "subset", "partition", "set")
"""Names of a column that tells training rows from others, in lower case."""
_GZIP = b"\x1f\x8b"
_VAGUE = ("name", "id")
"""Names of columns that often hold something else than files."""
_MOST_COLUMNS = 20
"""Columns of a table with a numbered column of files; more are pixels."""
_DELIMITERS = ",;\t"
_BETWEEN = re.compile(r"[\s_.-]+")
"""Separators of the words in a column's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTable:
    """The rows of a table of files and labels."""

    rows: list[tuple[str, str]]
    """Pairs of file and label, in the table's order."""
    is_labelled: bool
    """The labels are given; else they are empty."""
    passed_over: list[PassedOver]
    """Rows of other splits."""


def is_table(path: Path) -> bool:
    """Return whether a file's name is that of a table."""
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def is_zipped(path: Path) -> bool:
    """Return whether a file is gzipped, whatever its name."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def open_table(path: Path) -> TextIO:
    """Open a table, plain or gzipped, as text in UTF-8."""
    if is_zipped(path):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def delimiter_of(line: str) -> str:
    """Return what separates the values of a line: a comma, a semicolon or a tab."""
    return max(_DELIMITERS, key=line.count)


def column_among(columns: Sequence[str], names: Iterable[str]) -> str | None:
    """Return the column with the likeliest of these names; None: there is none.

    Case and what stands between words do not count: `Image Name` is `image_name` and `imagename`.
    """
    by_name = {_BETWEEN.sub("", column.lower()): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """The beginning of a table, and the meaning of its columns."""

    names: list[str]
    """The columns."""
    is_named: bool
    """The first line names the columns; else it is a row."""
    first: list[str]
    """The first row; empty: there is none."""
    delimiter: str
    file: str | None
    """The column of files; None: there is none."""
    label: str | None
    """The column of labels; None: there is none."""


def lists_files(path: Path, label_column: str | None = None, *, with_labels: bool = True) -> bool:
    """Return whether a table has a column of files, and one of labels if it must.

    A column `id` beside columns of pixels is not a column of files.
    """
    head = _head(path, label_column)
    if head.file is None or head.file == head.label or len(head.first) != len(head.names):
        return False
    value = head.first[head.names.index(head.file)].strip()
    if head.label is None and (with_labels or (head.file.lower() in _VAGUE and not _is_picture(value))):
        return False
    return not value.isdigit() or len(head.names) <= _MOST_COLUMNS


def read_label_table(path: Path, label_column: str | None = None, *, with_labels: bool = True) -> LabelTable:
    """Return the files and labels of a table: CSV (RFC 4180, UTF-8), gzipped or not.

    A table of one or two columns needs no header. If a column tells splits apart and has training rows, only those are
    taken.

    Args:
        path: The table.
        label_column: The column of labels; None: the one with a usual name.
        with_labels: The labels are wanted; else they are empty where there is no column of them.

    Raises:
        DataError: A column or value is missing, or a file is listed twice.
    """
    rows: dict[str, str] = {}
    others: Counter[str] = Counter()
    head = _head(path, label_column)
    for column, usual in ((head.file, FILES[0]), (head.label, label_column or LABELS[0])):
        if column is None and (with_labels or usual == FILES[0]):
            raise DataError(
                f"{path} has no column {usual!r} (it has: {', '.join(head.names) or 'none'}): "
                "its first line must be file,label"
            )
    wanted = [column for column in (head.file, head.label) if column is not None]
    with reading(path, "a CSV file"), open_table(path) as text:
        if head.is_named:
            next(csv.reader(text, delimiter=head.delimiter))
        # Else `1.jpg, cat` would be the label " cat".
        entries = list(csv.DictReader(text, head.names, delimiter=head.delimiter, skipinitialspace=True))
    split_column = column_among(head.names, SPLITS)
    if split_column is not None and not any(is_training(entry[split_column]) for entry in entries):
        split_column = None
    for line, entry in enumerate(entries, start=1 + head.is_named):
        if split_column is not None and not is_training(entry[split_column]):
            others[(entry[split_column] or "").strip()] += 1
            continue
        values = [(entry[column] or "").strip() for column in wanted]
        if not all(values):
            both = "both " if head.label else ""
            raise DataError(f"{path}, line {line}: {both}{' and '.join(wanted)} must have a value")
        if values[0] in rows:
            raise DataError(f"{path}, line {line}: {values[0]} is listed twice")
        rows[values[0]] = values[-1] if head.label else ""
    if not rows:
        raise DataError(f"{path} lists no files")
    return LabelTable(rows=list(rows.items()), is_labelled=head.label is not None, passed_over=other_splits(others))


def _head(path: Path, label_column: str | None) -> _Head:
    """Return the beginning of a table and what its columns mean."""
    with reading(path, "a CSV file"), open_table(path) as text:
        line = text.readline()
        delimiter = delimiter_of(line)
        lines = csv.reader(itertools.chain([line], text), delimiter=delimiter)
        names, first = [name.strip() for name in next(lines, [])], next(lines, [])
    is_named = column_among(names, FILES) is not None or len(names) > 2 or not any(map(_is_picture, names))
    if not is_named:
        first, at = names, next(place for place, name in enumerate(names) if _is_picture(name))
        names = [FILES[0] if place == at else LABELS[0] for place in range(len(names))]
    label = label_column or column_among(names, LABELS)
    return _Head(
        names=names,
        is_named=is_named,
        first=first,
        delimiter=delimiter,
        file=column_among(names, FILES),
        label=label if label in names else None,
    )


def _is_picture(value: str) -> bool:
    return value.lower().endswith(PICTURE_ENDINGS)


def is_training(value: str | None) -> bool:
    """Return whether a value in a column of splits names the training part."""
    split = split_of((value or "").strip())
    return split is not None and split.kind == "train"


def other_splits(counts: Counter[str]) -> list[PassedOver]:
    """Return the rows of splits that are not taken."""
    return [
        PassedOver(count, f"rows of {name or 'no split'} (another split)") for name, count in sorted(counts.items())
    ]
