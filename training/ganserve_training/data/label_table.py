"""Read tables of files and labels in CSV, and find out what the columns of a table mean."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ganserve_training.data.layouts.split_names import split_of
from ganserve_training.data.origin import PassedOver
from ganserve_training.errors import DataError
from ganserve_training.files import reading

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
"""Endings of tables, in lower case."""
FILES = (
    *("file", "filename", "file_name", "filepath", "file_path", "path", "image", "image_path", "image_name"),
    *("image_id", "img", "img_path", "name", "id"),
)
"""Names of a column of files, likely ones first, in lower case."""
LABELS = (
    *("label", "labels", "class", "class_name", "classname", "category", "target", "y", "emotion", "digit"),
    *("breed", "species", "type", "label_name"),
)
"""Names of a column of labels, likely ones first, in lower case."""
SPLITS = ("split", "usage", "subset", "partition", "set")
"""Names of a column that tells training rows from others, in lower case."""
_GZIP = b"\x1f\x8b"
_MOST_COLUMNS = 20
"""Columns of a table with a numbered column of files; more are pixels."""
_DELIMITERS = ",;\t"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTable:
    """The rows of a table of files and labels."""

    rows: list[tuple[str, str]]
    """Pairs of file and label, in the table's order."""
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
    """Return the column with the likeliest of these names, whatever its case; None: there is none."""
    by_name = {column.lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def lists_files(path: Path, label_column: str | None = None) -> bool:
    """Return whether a table has a column of files and one of labels.

    A column `id` beside columns of pixels is not a column of files.
    """
    with reading(path, "a CSV file"), open_table(path) as text:
        lines = csv.reader(text, delimiter=delimiter_of(header := text.readline()))
        columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter_of(header)), [])]
        first = next(lines, [])
    file, label = column_among(columns, FILES), label_column or column_among(columns, LABELS)
    if file is None or label not in columns or file == label or len(first) != len(columns):
        return False
    return not first[columns.index(file)].strip().isdigit() or len(columns) <= _MOST_COLUMNS


def read_label_table(path: Path, label_column: str | None = None) -> LabelTable:
    """Return the files and labels of a table: CSV (RFC 4180, UTF-8) with a header, gzipped or not.

    If a column tells splits apart and has training rows, only those are taken.

    Args:
        path: The table.
        label_column: The column of labels; None: the one with a usual name.

    Raises:
        DataError: A column or value is missing, or a file is listed twice.
    """
    rows: dict[str, str] = {}
    others: Counter[str] = Counter()
    with reading(path, "a CSV file"), open_table(path) as text:
        first = text.readline()
        delimiter = delimiter_of(first)
        columns = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        file_column, label_column = _columns(path, columns, label_column)
        # Else `1.jpg, cat` would be the label " cat".
        entries = list(csv.DictReader(text, columns, delimiter=delimiter, skipinitialspace=True))
    split_column = column_among(columns, SPLITS)
    if split_column is not None and not any(is_training(entry[split_column]) for entry in entries):
        split_column = None
    for line, entry in enumerate(entries, start=2):
        if split_column is not None and not is_training(entry[split_column]):
            others[(entry[split_column] or "").strip()] += 1
            continue
        file, label = ((entry[column] or "").strip() for column in (file_column, label_column))
        if not file or not label:
            raise DataError(f"{path}, line {line}: both {file_column} and {label_column} must have a value")
        if file in rows:
            raise DataError(f"{path}, line {line}: {file} is listed twice")
        rows[file] = label
    if not rows:
        raise DataError(f"{path} lists no files")
    return LabelTable(rows=list(rows.items()), passed_over=other_splits(others))


def is_training(value: str | None) -> bool:
    """Return whether a value in a column of splits names the training part."""
    split = split_of((value or "").strip())
    return split is not None and split.kind == "train"


def other_splits(counts: Counter[str]) -> list[PassedOver]:
    """Return the rows of splits that are not taken."""
    return [
        PassedOver(count, f"rows of {name or 'no split'} (another split)") for name, count in sorted(counts.items())
    ]


def _columns(path: Path, columns: Sequence[str], label_column: str | None) -> tuple[str, str]:
    file = column_among(columns, FILES)
    label = label_column or column_among(columns, LABELS)
    for column, usual in ((file, "file"), (label, "label")):
        if column is None or column not in columns:
            raise DataError(
                f"{path} has no column {column or usual!r} (it has: {', '.join(columns) or 'none'}): "
                "its first line must be file,label"
            )
    assert file is not None
    assert label is not None
    return file, label
