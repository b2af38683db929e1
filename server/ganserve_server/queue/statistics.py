"""Counts of what was done for one graph, in plain numbers; whoever exports them reads them from here."""

from __future__ import annotations

import bisect
import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# From a call that starts at once to a queue of many seconds; half a decade a step.
_SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Histogram:
    """Counts of values by upper bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        """Upper bounds, included, ascending."""
        self.counts = [0] * (len(self.bounds) + 1)
        """Values up to each bound and above the one before; the last entry: above all bounds."""
        self.sum = 0.0
        """Sum of the values."""

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


@dataclasses.dataclass(slots=True)
class GraphStatistics:
    """Since the graph was loaded. Written under its batcher's lock; a reader may see a call half counted."""

    requests: int = 0
    """Requests that were answered; a stream's chunk, and a critic's look at drawn samples, is one."""
    samples: int = 0
    """Samples that were computed."""
    calls: int = 0
    """Calls of the graph."""
    rejected: int = 0
    """Requests that found the queue full."""
    expired: int = 0
    """Requests whose deadline passed while they waited."""
    cancelled: int = 0
    """Requests whose client went away before they were done."""
    failed: int = 0
    """Requests that a failed call, or unloading, took with it."""
    batch_sizes: Histogram = dataclasses.field(default_factory=lambda: Histogram(_BATCH_SIZES))
    """Samples of each call."""
    queue_s: Histogram = dataclasses.field(default_factory=lambda: Histogram(_SECONDS))
    """Seconds from a request's arrival to the start of its first call."""
    compute_s: Histogram = dataclasses.field(default_factory=lambda: Histogram(_SECONDS))
    """Seconds of each call, with drawing its latents."""
