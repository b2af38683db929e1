"""Count latencies in constant memory, with every percentile right to within 1 %."""

import math
from collections import Counter
from itertools import accumulate

_LOWEST_S = 1e-5
_GROWTH = 1.01


class Latencies:
    """A histogram whose buckets grow by 1 %, from 10 microseconds on; extremes and mean are exact."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._sum_s = 0.0
        self.count = 0
        """Number of latencies."""
        self.lowest_s = math.inf
        self.highest_s = 0.0

    def add(self, latency_s: float) -> None:
        """Count one latency in seconds."""
        self._counts[_bucket(latency_s)] += 1
        self._sum_s += latency_s
        self.count += 1
        self.lowest_s = min(self.lowest_s, latency_s)
        self.highest_s = max(self.highest_s, latency_s)

    @property
    def mean_s(self) -> float:
        """Mean in seconds; NaN without latencies."""
        return self._sum_s / self.count if self.count else math.nan

    def percentile_s(self, percent: float) -> float:
        """Return the latency in seconds that this share does not exceed, at most 1 % too high; NaN without any."""
        if not self.count:
            return math.nan
        rank = max(1, math.ceil(self.count * percent / 100 - 1e-9))
        buckets = sorted(self._counts)
        for bucket, below in zip(buckets, accumulate(self._counts[bucket] for bucket in buckets), strict=True):
            if below >= rank:
                return min(_upper_s(bucket), self.highest_s)
        raise AssertionError("the counts sum to the count")

    def buckets(self) -> list[tuple[float, int]]:
        """Return the upper bound in seconds and the count of each bucket that is not empty, lowest first."""
        return [(_upper_s(bucket), self._counts[bucket]) for bucket in sorted(self._counts)]


def _bucket(latency_s: float) -> int:
    return 0 if latency_s <= _LOWEST_S else math.ceil(math.log(latency_s / _LOWEST_S, _GROWTH) - 1e-9)


def _upper_s(bucket: int) -> float:
    return float(_LOWEST_S * _GROWTH**bucket)
