"""Several servers that take turns."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FIRST_REST_S, _LONGEST_REST_S = 1.0, 30.0


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server: where it is, and how to call it."""

    target: str
    """Its address."""
    stub: Any
    """Has the methods of GanService, as gRPC's stubs have them."""
    close: Callable[[], Any]
    """Ends it; a coroutine function for asyncio."""
    failures: int = 0
    """How often it failed since it last answered."""
    rests_until: float = 0.0
    """`time.monotonic()` before which others are asked first."""


class Rotation:
    """Gives each call the next endpoint; one that failed rests for a while. Used by any number of threads."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._turn = itertools.count()  # next() of it is atomic

    def next(self) -> Endpoint:
        """The endpoint whose turn it is; one that rests only if all do."""
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        now, start = time.monotonic(), next(self._turn)
        in_turn = [self.endpoints[(start + i) % len(self.endpoints)] for i in range(len(self.endpoints))]
        for endpoint in in_turn:
            if endpoint.rests_until <= now:
                return endpoint
        return min(in_turn, key=lambda endpoint: endpoint.rests_until)

    def failed(self, endpoint: Endpoint, retry_after_s: float | None) -> bool:
        """Lets an endpoint rest, and tells whether another can be asked at once.

        Args:
            endpoint: The one that failed.
            retry_after_s: When it asked to be asked again.
        """
        if len(self.endpoints) == 1:
            return False
        now = time.monotonic()
        rest_s = min(_FIRST_REST_S * 2.0 ** min(endpoint.failures, 16), _LONGEST_REST_S)
        endpoint.failures += 1
        endpoint.rests_until = now + max(rest_s, retry_after_s or 0.0)
        return any(other.rests_until <= now for other in self.endpoints)

    def answered(self, endpoint: Endpoint) -> None:
        """Note that an endpoint is well."""
        if endpoint.failures:
            endpoint.failures, endpoint.rests_until = 0, 0.0
