"""The order in which training sees the samples: a pure function of the seed, so that resuming needs no state."""

import numpy as np
from numpy.typing import NDArray


class ShuffledOrder:
    """An endless sequence of epochs, each a fresh permutation.

    Every epoch's permutation comes from a counter-based generator (Philox) addressed by seed and epoch, so any part of
    the sequence is known without having drawn what comes before it.

    Args:
        count: how many samples there are.
        seed: seed of the order.
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1 (got {count})")
        self._count = count
        self._seed = seed
        self._cached_epoch = -1
        self._cached: NDArray[np.int64] = np.empty(0, np.int64)

    def indices(self, position: int, count: int) -> NDArray[np.int64]:
        """Places ``position`` to ``position + count - 1`` of the sequence: indices of samples, int64 [count]."""
        parts = []
        end = position + count
        while position < end:
            epoch, offset = divmod(position, self._count)
            part = self._epoch(epoch)[offset : offset + end - position]
            parts.append(part)
            position += len(part)
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._cached_epoch:
            bits = np.random.Philox(key=np.array([self._seed, epoch], np.uint64))
            self._cached = np.random.Generator(bits).permutation(self._count)
            self._cached_epoch = epoch
        return self._cached
