"""Seconds and counts of the stages of a server's work, in a file that both the server and the benchmark have open."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

STAGES = ("request", "queue", "latents", "copy in", "compute", "copy out", "encode", "serialise")
"""request: until its answer is made. All others but serialise, which comes then, are parts of it."""
_COLUMNS = ("count", "busy_s", "felt_s")


class Stages:
    """Counters by stage.

    `busy_s` is how long the stage ran; `felt_s` counts that once for each request which waited for it, as those that
    share a model call do. Both since the file was made.
    """

    WRITES_S: ClassVar[float] = 0.05
    """Seconds until what was added is in the file."""

    def __init__(self, file: Path, *, make: bool = False) -> None:
        shape = (len(STAGES), len(_COLUMNS))
        self._values = np.memmap(file, np.float64, "w+" if make else "r+", shape=shape)
        self._counts = {stage: [0.0, 0.0, 0.0] for stage in STAGES}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float, requests: int = 1) -> None:
        # Lists, since this is in everybody's way: an array would take ten times as long.
        with self._lock:
            counts = self._counts[stage]
            counts[0] += requests
            counts[1] += seconds
            counts[2] += seconds * requests

    def keep_writing(self) -> None:
        """Writes what was added into the file from now on, every `WRITES_S`."""
        threading.Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        while True:
            with self._lock:
                rows = [list(self._counts[stage]) for stage in STAGES]
            self._values[:] = rows
            time.sleep(self.WRITES_S)

    def read(self) -> dict[str, dict[str, float]]:
        values = np.array(self._values)
        rows = [dict(zip(_COLUMNS, row.tolist(), strict=True)) for row in values]
        return dict(zip(STAGES, rows, strict=True))


def between(
    before: dict[str, dict[str, float]], after: dict[str, dict[str, float]], seconds: float
) -> dict[str, dict[str, float]]:
    """Returns what a request felt of each stage in the mean, in ms, and the share of the time that each ran."""
    requests = max(1.0, after["request"]["count"] - before["request"]["count"])
    return {
        stage: {
            "felt_ms": (after[stage]["felt_s"] - before[stage]["felt_s"]) / requests * 1e3,
            "busy": (after[stage]["busy_s"] - before[stage]["busy_s"]) / seconds,
        }
        for stage in STAGES
    }
