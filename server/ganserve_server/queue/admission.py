"""Refuse requests that a full queue has no room for, and say when to retry."""

from ganserve_server.error_text import counted
from ganserve_server.errors import QueueFullError
from ganserve_server.queue.lanes import Lanes, Priority, WorkT
from ganserve_server.queue.statistics import GraphStatistics

_MIN_RETRY_S, _MAX_RETRY_S = 0.05, 30.0


class Admission:
    """Admits requests to one queue. Callers hold the queue's lock."""

    def __init__(self, name: str, lanes: Lanes[WorkT], statistics: GraphStatistics, max_queued_samples: int) -> None:
        self._name = name
        self._lanes = lanes
        self._statistics = statistics
        self._max_queued_samples = max_queued_samples

    def check(self, count: int, samples_per_s: float, *, bulk: bool, priority: Priority, caller: str) -> None:
        """Raise QueueFullError if too many samples of the caller wait.

        `samples_per_s` is the queue's speed, 0 if unknown.
        """
        queued = self._lanes.queued and self._lanes.ahead(bulk=bulk, priority=priority, caller=caller)
        if not queued or queued + count <= self._max_queued_samples:
            return
        self._statistics.rejected += 1
        retry_after_s = queued / samples_per_s if samples_per_s else 1.0
        waiting = f"{counted(queued, 'sample')} {'waits' if queued == 1 else 'wait'} already"
        raise QueueFullError(
            f"{self._name}: {waiting} and {count} more would exceed {self._max_queued_samples}: "
            "try again later or ask another replica",
            # Two digits are enough, and make many refusals in a row equal, so that they can be cached.
            retry_after_s=float(f"{min(max(retry_after_s, _MIN_RETRY_S), _MAX_RETRY_S):.2g}"),
        )
