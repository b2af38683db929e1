"""Seconds and counts of the stages of a server's work, in a file that both the server and the benchmark have open."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

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

    def __init__(self, file: Path, *, make: bool = False) -> None:
        shape = (len(STAGES), len(_COLUMNS))
        self._values = np.memmap(file, np.float64, "w+" if make else "r+", shape=shape)
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float, requests: int = 1) -> None:
        with self._lock:
            self._values[STAGES.index(stage)] += (requests, seconds, seconds * requests)

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
