"""Count the seconds of each stage of a server's work, in a file that the server and the benchmark share."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

STAGES = ("request", "queue", "latents", "copy in", "compute", "copy out", "encode", "serialise")
"""`request` lasts until the answer is made. All others are parts of it, except `serialise`, which follows it."""
_COLUMNS = ("count", "busy_s", "felt_s")


class Stages:
    """Count by stage, from the creation of the file.

    `busy_s` is the time that a stage ran. `felt_s` counts that time once for each request that waited for it: requests
    that share a model call all wait for the whole call.
    """

    WRITES_S: ClassVar[float] = 0.05
    """Seconds between two writes of the file."""

    def __init__(self, file: Path, *, make: bool = False) -> None:
        shape = (len(STAGES), len(_COLUMNS))
        self._values = np.memmap(file, np.float64, "w+" if make else "r+", shape=shape)
        self._counts = {stage: [0.0, 0.0, 0.0] for stage in STAGES}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float, requests: int = 1) -> None:
        # Lists: this runs in every request, and an array would take ten times as long.
        with self._lock:
            counts = self._counts[stage]
            counts[0] += requests
            counts[1] += seconds
            counts[2] += seconds * requests

    def keep_writing(self) -> None:
        """Start a thread that writes the counts into the file every `WRITES_S`."""
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
    """Return, for each stage, the mean milliseconds that a request waited for it, and the share of the time it ran."""
    requests = max(1.0, after["request"]["count"] - before["request"]["count"])
    return {
        stage: {
            "felt_ms": (after[stage]["felt_s"] - before[stage]["felt_s"]) / requests * 1e3,
            "busy": (after[stage]["busy_s"] - before[stage]["busy_s"]) / seconds,
        }
        for stage in STAGES
    }
