"""Say how the work of a request waits in a queue."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ganserve_server.queue.lanes import Priority


@dataclass(kw_only=True, slots=True)  # not frozen: made for every request, and freezing takes time
class QueueOptions:
    """How work waits."""

    deadline: float | None = None
    """`time.monotonic()` after which work that has not started is dropped."""
    priority: Priority = Priority.NORMAL
    """Higher priorities go first."""
    bulk: bool = False
    """Wait in the bulk lane even if the work fits into one call."""
    always_admit: bool = False
    """Enter even a full queue, as the next part of an admitted request."""

    def admitted(self) -> QueueOptions:
        """Return the options for the work that follows an admitted part."""
        return replace(self, always_admit=True)
