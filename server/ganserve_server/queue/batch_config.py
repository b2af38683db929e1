"""Configure how requests are joined into batches and how many may wait."""

from __future__ import annotations

from dataclasses import dataclass, replace

# Waking a worker, and being woken by it, takes about as long.
INLINE_BELOW_S = 0.2e-3
_SMALL_BYTES = 16 * 2**10


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """How requests are joined."""

    max_batch_size: int
    """Most samples in one call."""
    max_queued_samples: int
    """Most samples that may wait. A request that does not fit is refused, unless nothing waits. Short requests count
    only requests ahead of them; bulk requests count the whole queue."""
    workers: int
    """Simultaneous calls."""
    max_small_batch_size: int = 0
    """Replaces max_batch_size for samples of at most 16 KiB, if it is larger: they take a GPU almost no time."""
    queue_delay_s: float = 0.0
    """How long a free worker waits for a full call, from the arrival of the first waiting request."""
    inline_below_s: float = 0.0
    """Calls that take less time run on the event loop; see `Batcher`. 0: none."""

    def for_samples_of(self, size: int) -> BatchConfig:
        """Return the configuration for samples of `size` bytes."""
        if size > _SMALL_BYTES or self.max_small_batch_size <= self.max_batch_size:
            return self
        return replace(self, max_batch_size=min(self.max_small_batch_size, self.max_queued_samples))
