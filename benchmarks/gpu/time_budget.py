"""Limit the time of a section, and time calls."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Budget:
    """A number of seconds that starts now."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """Seconds left; negative after the end."""
        return self.began + self.seconds - time.monotonic()

    def part(self, share: float) -> Budget:
        """Return a budget of a share of the seconds left."""
        return Budget(max(0.0, self.left_s) * share)


def call_seconds(call: Callable[[], object], seconds: float, *, warm: int = 3, least: int = 3) -> list[float]:
    """Repeat a call for a number of seconds and return the seconds of each.

    The first `warm` calls search, allocate, compile and capture; they are not counted. A call must wait for the device.
    """
    for _ in range(warm):
        call()
    taken = []
    end = time.perf_counter() + seconds
    while len(taken) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def speed(taken: list[float], samples: int) -> dict[str, float]:
    """Return the median time and the samples/s of calls of `samples` samples each."""
    middle = statistics.median(taken)
    return {"calls": len(taken), "ms": middle * 1e3, "samples_per_s": samples / middle}
