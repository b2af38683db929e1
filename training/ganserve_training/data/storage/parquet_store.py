"""Encoded images in row groups of Parquet files, read a row group at a time."""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ganserve_training.data.image_decoding import UnreadableError
from ganserve_training.data.storage.encoded_store import EncodedStore, Inspected, digest_inspected
from ganserve_training.errors import DataError
from ganserve_training.files import reading, reason_of

_GROUP_BYTES = 2**28  # Encoded images that a process keeps; it always keeps one row group.


def open_parquet(path: Path) -> Any:
    """Return a memory-mapped `pyarrow.parquet.ParquetFile`; raise DataError without pyarrow, or if it is not one."""
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError("Parquet files need pyarrow: pip install 'ganserve[training]'") from error
    with reading(path, "a Parquet file"):
        return pq.ParquetFile(path, memory_map=True)


@dataclass(slots=True)
class _Process:
    """Files and row groups that one process has open; forked processes open their own."""

    pid: int
    lock: Any = field(default_factory=threading.Lock)
    files: dict[int, Any] = field(default_factory=dict)
    groups: OrderedDict[int, Any] = field(default_factory=OrderedDict)
    bytes: int = 0


class ParquetStore(EncodedStore):
    """Encoded images in a column of Parquet files: binary, or a structure with a binary field called bytes.

    Reading a picture reads its row group, so small row groups (Hugging Face writes 100 rows) are fastest in random
    order. A column of another type raises DataError.
    """

    def __init__(self, root: Path, files: Sequence[Path], column: str) -> None:
        self._root = root
        self._files = list(files)
        self._column = column
        rows: list[int] = []
        self._groups: list[tuple[int, int]] = []  # (file, row group) of each row group
        self._file_rows: list[int] = []  # the first row of each file
        first = 0
        for number, path in enumerate(files):
            file = open_parquet(path)
            _expect_images(path, file.schema_arrow.field(column))
            self._file_rows.append(first)
            first += file.metadata.num_rows
            for group in range(file.metadata.num_row_groups):
                rows.append(file.metadata.row_group(group).num_rows)
                self._groups.append((number, group))
        self._ends = np.cumsum(np.array(rows, np.int64))
        self._inspected: list[Inspected] = []
        self._process = _Process(os.getpid())

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_process"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._process = _Process(os.getpid())

    def name(self, index: int) -> str:
        """Return the file and the row in it."""
        number, _ = self._groups[self._group_of(index)]
        return f"{self._files[number]} row {index - self._file_rows[number]}"

    def sha256(self) -> str:
        """Return a digest of the files' names below `root` and of all encoded pictures."""
        names = [path.relative_to(self._root).as_posix() for path in self._files]
        starts = dict(zip(self._file_rows, names, strict=True))
        return digest_inspected([starts.get(row, "") for row in range(len(self))], self._inspect())

    def _sources(self) -> list[Path]:
        return [*self._files, Path(self._column)]  # Another column holds other pictures.

    def _group_of(self, index: int) -> int:
        return int(np.searchsorted(self._ends, index, side="right"))

    def _encoded(self, index: int) -> bytes:
        group = self._group_of(index)
        first = int(self._ends[group - 1]) if group else 0
        if self._process.pid != os.getpid():
            self._process = _Process(os.getpid())
        with self._process.lock:
            images = self._read_group(group)
        try:
            data = images[index - first].as_py()
        except Exception as error:
            raise UnreadableError(reason_of(error)) from error
        if data is None:
            raise UnreadableError("it holds no bytes")
        assert isinstance(data, bytes)
        return data

    def _read_group(self, group: int) -> Any:
        """Return the column of a row group, a `pyarrow.ChunkedArray` of bytes; keep the last ones in memory."""
        import pyarrow as pa
        import pyarrow.compute as pc

        process = self._process
        if group in process.groups:
            process.groups.move_to_end(group)
            return process.groups[group]
        number, place = self._groups[group]
        if number not in process.files:
            process.files[number] = open_parquet(self._files[number])
        try:
            table = process.files[number].read_row_group(place, columns=[self._column], use_threads=False)
        except Exception as error:  # pyarrow raises many types for damaged pages.
            raise UnreadableError(f"its row group {place} can't be read: {reason_of(error)}") from error
        images = table.column(self._column)
        if pa.types.is_struct(images.type):
            images = pc.struct_field(images, "bytes")
        process.groups[group] = images
        process.bytes += images.nbytes
        while process.bytes > _GROUP_BYTES and len(process.groups) > 1:
            _, oldest = process.groups.popitem(last=False)
            process.bytes -= oldest.nbytes
        return images


def holds_images(kind: Any) -> bool:
    """Return whether a column of this pyarrow type can hold encoded images."""
    import pyarrow as pa

    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _expect_images(path: Path, column: Any) -> None:
    if not holds_images(column.type):
        raise DataError(
            f"{path}: the column {column.name!r} must hold encoded images, as bytes or as structures with a field "
            f"bytes (got {column.type})"
        )
