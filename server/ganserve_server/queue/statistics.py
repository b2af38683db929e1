"""Count the requests, samples and calls of one graph: batch sizes, waiting times, computing times."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# From a call that starts at once to a queue of many seconds, in half decades.
_SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Histogram:
    """Counts values by upper bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        """Upper bounds, inclusive, ascending."""
        self.counts = [0] * (len(self.bounds) + 1)
        """Number of values in each interval; the last entry counts values above all bounds."""
        self.sum = 0.0
        """Sum of the values."""

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)


@dataclass(slots=True)
class GraphStatistics:
    """The counts since the graph was loaded. Written under its batcher's lock; readers may see a call half counted."""

    requests: int = 0
    """Answered requests; a stream's chunk, or scoring the samples of a request, counts as one."""
    samples: int = 0
    """Computed samples."""
    calls: int = 0
    """Calls of the graph."""
    rejected: int = 0
    """Requests refused by a full queue."""
    expired: int = 0
    """Requests whose deadline passed while they waited."""
    cancelled: int = 0
    """Requests cancelled by their client."""
    failed: int = 0
    """Requests that failed with their call, or because the model was unloaded."""
    batch_sizes: Histogram = field(default_factory=lambda: Histogram(_BATCH_SIZES))
    """Samples of each call."""
    queue_s: Histogram = field(default_factory=lambda: Histogram(_SECONDS))
    """Seconds from a request's arrival to the start of its first call."""
    compute_s: Histogram = field(default_factory=lambda: Histogram(_SECONDS))
    """Seconds of each call, including drawing its latents."""
