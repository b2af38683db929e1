"""Choose among several servers: they take turns, and a failed one rests until a probe finds it well."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ganserve._calls.targets import Proxy

_FIRST_REST_S, _LONGEST_REST_S = 1.0, 30.0


@dataclass(slots=True, eq=False, weakref_slot=True)
class Endpoint:
    """One address of a server: where it is, and how to call it."""

    target: str
    """The client's target that led to it."""
    stub: Any
    """A stub of GanService."""
    close: Callable[[], Any]
    """Closes the connection; a coroutine function for asyncio."""
    address: str = ""
    """The address, as a target of gRPC."""
    probe: Callable[[], Any] | None = None
    """Calls grpc.health.v1 there; a coroutine function for asyncio. None: it returns from its rest without."""
    proxy: Proxy | None = None
    """The proxy on the way."""
    encrypted: bool = False
    """True if calls there are encrypted."""
    failures: int = 0
    """Failures since the last answer."""
    rests_until: float = 0.0
    """End of its rest, by `time.monotonic()`."""
    probing: bool = False
    """True while a probe runs."""

    @property
    def available(self) -> bool:
        """True if it has not failed since the last answer."""
        return not self.failures


class Rotation:
    """Gives each call the next endpoint. Any number of threads may use it."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        """The endpoints; replaced whole when the addresses of a name change."""
        self._turn = itertools.count()  # its next() is atomic

    @property
    def available(self) -> int:
        """Number of available servers, each with any number of connections.

        A name's IPv4 and IPv6 addresses may be the same server's.
        """
        endpoints = self.endpoints
        if len(endpoints) == 1:
            return int(endpoints[0].available)
        addresses = {(each.target, each.address) for each in endpoints if each.available}
        counts = Counter((target, address.partition(":")[0]) for target, address in addresses)
        most: dict[str, int] = {}
        for (target, _), count in counts.items():
            most[target] = max(most.get(target, 0), count)
        return sum(most.values())

    def next(self) -> Endpoint:
        """Return the next available endpoint; if none is, the one whose rest ends first."""
        endpoints = self.endpoints
        if len(endpoints) == 1:
            return endpoints[0]
        start = next(self._turn)
        in_turn = [endpoints[(start + i) % len(endpoints)] for i in range(len(endpoints))]
        for endpoint in in_turn:
            if endpoint.available:
                return endpoint
        return min(in_turn, key=lambda endpoint: endpoint.rests_until)

    def failed(self, endpoint: Endpoint, retry_after_s: float | None) -> bool:
        """Let an endpoint rest, at least as long as its server asks, and return whether another one is available."""
        rest_s = min(_FIRST_REST_S * 2.0 ** min(endpoint.failures, 16), _LONGEST_REST_S)
        endpoint.failures += 1
        endpoint.rests_until = time.monotonic() + max(rest_s, retry_after_s or 0.0)
        return any(other.available for other in self.endpoints)

    def answered(self, endpoint: Endpoint) -> None:
        """Note that an endpoint works."""
        if endpoint.failures:
            endpoint.failures, endpoint.rests_until = 0, 0.0

    def due(self) -> list[Endpoint]:
        """Return the endpoints to probe now, because their rest is over, and mark them."""
        endpoints = self.endpoints
        if len(endpoints) == 1 or not any(endpoint.failures for endpoint in endpoints):
            return []
        now, due = time.monotonic(), []
        for endpoint in endpoints:
            if endpoint.failures and endpoint.rests_until <= now and not endpoint.probing:
                endpoint.probing = True
                due.append(endpoint)
        return due

    def probed(self, endpoint: Endpoint, well: bool) -> None:
        """Take the result of a probe: the endpoint returns, or rests for longer."""
        endpoint.probing = False
        if well:
            self.answered(endpoint)
        else:
            self.failed(endpoint, None)
