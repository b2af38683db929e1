"""Configure how requests are joined into batches, and how the work of one request waits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ganserve_server.queue.lanes import Priority

# Waking a worker and returning its result takes about as long.
INLINE_BELOW_S = 0.2e-3
_SMALL_BYTES = 16 * 2**10


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """Options for joining requests."""

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
    """Longest time that a free worker waits for a full call, from the arrival of the first waiting request."""
    inline_below_s: float = 0.0
    """Calls that take less time run on the event loop; see `Batcher`. 0: none."""

    def for_samples_of(self, size: int) -> BatchConfig:
        """Return the configuration for samples of `size` bytes."""
        if size > _SMALL_BYTES or self.max_small_batch_size <= self.max_batch_size:
            return self
        return replace(self, max_batch_size=min(self.max_small_batch_size, self.max_queued_samples))


@dataclass(kw_only=True, slots=True)  # not frozen: made for every request, and freezing takes time
class QueueOptions:
    """Options for waiting work."""

    deadline: float | None = None
    """`time.monotonic()` after which work that has not started is dropped."""
    priority: Priority = Priority.NORMAL
    """Higher priorities go first."""
    bulk: bool = False
    """Wait in the bulk lane even if the work fits into one call."""
    caller: str = ""
    """Sender of the work: callers get equal shares of the calls."""
    always_admit: bool = False
    """Enter even a full queue, as the next part of an admitted request."""

    def admitted(self) -> QueueOptions:
        """Return the options for the work that follows an admitted part."""
        return replace(self, always_admit=True)
