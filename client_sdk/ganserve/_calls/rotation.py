"""Choose among several servers: they take turns, and a failed one pauses."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_FIRST_REST_S, _LONGEST_REST_S = 1.0, 30.0


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server: where it is, and how to call it."""

    target: str
    """Its address."""
    stub: Any
    """A stub of GanService."""
    close: Callable[[], Any]
    """Closes the connection; a coroutine function for asyncio."""
    failures: int = 0
    """Failures since the last answer."""
    rests_until: float = 0.0
    """End of its pause, by `time.monotonic()`."""


class Rotation:
    """Gives each call the next endpoint. Any number of threads may use it."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._turn = itertools.count()  # its next() is atomic

    def next(self) -> Endpoint:
        """Return the next endpoint; a paused one only if all are paused."""
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        now, start = time.monotonic(), next(self._turn)
        in_turn = [self.endpoints[(start + i) % len(self.endpoints)] for i in range(len(self.endpoints))]
        for endpoint in in_turn:
            if endpoint.rests_until <= now:
                return endpoint
        return min(in_turn, key=lambda endpoint: endpoint.rests_until)

    def failed(self, endpoint: Endpoint, retry_after_s: float | None) -> bool:
        """Pause an endpoint, at least as long as its server asks, and return whether another one is available now."""
        if len(self.endpoints) == 1:
            return False
        now = time.monotonic()
        rest_s = min(_FIRST_REST_S * 2.0 ** min(endpoint.failures, 16), _LONGEST_REST_S)
        endpoint.failures += 1
        endpoint.rests_until = now + max(rest_s, retry_after_s or 0.0)
        return any(other.rests_until <= now for other in self.endpoints)

    def answered(self, endpoint: Endpoint) -> None:
        """Note that an endpoint works."""
        if endpoint.failures:
            endpoint.failures, endpoint.rests_until = 0, 0.0
