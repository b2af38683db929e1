"""Read samples to score from pictures, Parquet files and archives of WebDataset, a few at a time. N = samples."""

from __future__ import annotations

import csv
import io
import itertools
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_server.bulk.sources import PICTURES, TABLE, Source, refusals
from ganserve_server.errors import JobError

_MOST_PART_BYTES = 32 * 2**20  # of encoded pictures


@dataclass(slots=True)
class Row:
    """A sample to score."""

    name: str
    content: bytes | NDArray[np.generic]
    """A picture file, or values."""
    label: str | int | None = None


def parts_of(source: Source, files: Sequence[str], most: int) -> Iterator[list[Row]]:
    """Yield the samples of files, at most `most` at a time; raise BulkError if a file cannot be read."""
    rows = _READERS[source.kind](source, files)
    part: list[Row] = []
    size = 0
    for row in rows:
        part.append(row)
        size += len(row.content) if isinstance(row.content, bytes) else row.content.nbytes
        if len(part) == most or size >= _MOST_PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _pictures(source: Source, files: Sequence[str]) -> Iterator[Row]:
    """Yield pictures; their label is in the table beside them, or their folder's name may be it."""
    for folder, names in itertools.groupby(files, lambda name: name.rpartition("/")[0]):
        table = _table(source, folder) if folder in source.tables else {}
        for name in names:
            with refusals(f"{source.place}/{name}" if name else source.place), source.open(name) as file:
                content = file.read()
            last = name.rpartition("/")[2]
            label = table.get(last) if folder in source.tables else folder.rpartition("/")[2] or None
            yield Row(name or source.place, content, label)


def _table(source: Source, folder: str) -> dict[str, str]:
    """Return the label of each file that a table lists."""
    name = f"{folder}/{TABLE}" if folder else TABLE
    with refusals(f"{source.place}/{name}"), source.open(name) as file:
        rows = csv.DictReader(io.StringIO(file.read().decode("utf-8")))
        labels = {row.get("file_name", ""): row.get("label_name") or row.get("label") for row in rows}
    return {file: label for file, label in labels.items() if label}


def _parquet(source: Source, files: Sequence[str]) -> Iterator[Row]:
    import pyarrow.parquet

    for name in files:
        shown = f"{source.place}/{name}" if name else source.place
        with refusals(shown), source.open(name) as file:
            table = pyarrow.parquet.ParquetFile(file)
            column, names = _sample_column(table.schema_arrow, shown), _label_names(table.schema_arrow)
            columns = [column, *(["label"] if "label" in table.schema_arrow.names else [])]
            number = 0
            for batch in table.iter_batches(batch_size=256, columns=columns):
                labels = batch.column("label").to_pylist() if len(columns) > 1 else itertools.repeat(None, len(batch))
                for content, label in zip(_contents(batch.column(column)), labels, strict=True):
                    known = isinstance(label, int) and 0 <= label < len(names)
                    yield Row(f"{name or source.place}:{number}", content, names[label] if known else label)
                    number += 1


def _sample_column(schema: Any, shown: str) -> str:
    for name in ("image", "sample"):
        if name in schema.names:
            return name
    raise JobError(
        f"FILES {shown}: has no column image or sample, only {', '.join(schema.names)}. Name one of them so: picture "
        "files in image, lists of values in sample."
    )


def _label_names(schema: Any) -> list[str]:
    """Return the names of the numbers in the column label, from Hugging Face's metadata; empty: there are none."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (ValueError, KeyError, TypeError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _contents(column: Any) -> Iterator[bytes | NDArray[np.generic]]:
    """Yield the picture files or the values of a column; b"" for a missing one."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_struct(kind):
        column = column.field("bytes")
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        for values in column:
            yield b"" if values.values is None else values.values.to_numpy(zero_copy_only=False)
        return
    for value in column.to_pylist():
        yield value if isinstance(value, bytes) else b""


def _archives(source: Source, files: Sequence[str]) -> Iterator[Row]:
    for name in files:
        shown = f"{source.place}/{name}" if name else source.place
        with refusals(shown), source.open(name) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            members = ((member, archive.extractfile(member)) for member in archive if member.isfile())
            read = ((member.name, content.read()) for member, content in members if content is not None)
            for key, group in itertools.groupby(read, lambda pair: _key(pair[0])):
                row = _sample(f"{name or source.place}:{key}", {path[len(key) + 1 :]: data for path, data in group})
                if row is not None:
                    yield row


def _key(path: str) -> str:
    """Return a sample's name: the path up to the first dot of the file's name."""
    folder, slash, last = path.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def _sample(name: str, files: dict[str, bytes]) -> Row | None:
    """Return the sample of the files of one name, by their endings; None without one."""
    label: str | int | None = None
    if "cls" in files:
        text = files["cls"].decode("utf-8", "replace").strip()
        label = int(text) if text.isascii() and text.isdecimal() else text
    if "json" in files:
        with_name = json.loads(files["json"])
        if isinstance(with_name, dict) and isinstance(with_name.get("label_name"), str):
            label = with_name["label_name"]
    for ending, content in files.items():
        if f".{ending.lower()}" in PICTURES:
            return Row(name, content, label)
        if ending.lower() == "npy":
            return Row(name, np.load(io.BytesIO(content), allow_pickle=False), label)
    return None


_READERS = {"pictures": _pictures, "parquet": _parquet, "webdataset": _archives}
