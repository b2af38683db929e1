"""Read and write a run's logs (measures, observations, findings): one JSON object a line, each with its `step`."""

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ganserve_training.errors import DataError
from ganserve_training.files import reading, write_text_atomically, writing


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return every whole line of a log; a last line torn by a crash is ignored.

    Raises:
        DataError: A line in the middle is not a record.
    """
    if not path.exists():
        return []
    with reading(path, "a log in UTF-8"):
        lines = path.read_text(encoding="utf-8").split("\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: is not JSON. Delete that line.") from error
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise DataError(f"{path}, line {number}: is not a record with a step. Delete that line.")
        records.append(record)
    return records


class LogWriter:
    """Append records to a log; first drop those after `resumed_step`, which the run will write again."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        kept = [record for record in read_log(path) if record["step"] <= resumed_step]
        write_text_atomically(path, "".join(map(_line, kept)))
        self._path = path
        with writing(path):
            self._file = path.open("ab", buffering=0)  # A buffer would be written again when the disk is full.

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record at once, so that a killed process loses none.

        Raises:
            WriteError: The disk is full, say; then the record is not in the log.
        """
        line, place = _line(record).encode(), self._file.tell()
        with writing(self._path):
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                with suppress(OSError):
                    self._file.truncate(place)
                raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"
