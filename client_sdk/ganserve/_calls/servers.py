"""Keep an endpoint for each address of a client's targets, while names get other addresses and servers come and go."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from ganserve._calls.rotation import Endpoint, Rotation
from ganserve._calls.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Look for new addresses of names regularly while there are calls, and soon after a failure.
LOOK_EVERY_S, LOOK_AFTER_FAILURE_S = 30.0, 1.0


class Servers:
    """The endpoints of a client. Any number of threads may use it."""

    def __init__(
        self, targets: Sequence[str], open_endpoint: Callable[[Target, str], Endpoint], connections: int = 1
    ) -> None:
        """Open the endpoints of targets that are addresses, each with a number of connections.

        Those of names wait for the first look.
        """
        self._targets = [Target.of(text) for text in targets]
        self._open = open_endpoint
        self._connections = connections
        self._endpoints: dict[tuple[str, str, int], Endpoint] = {}
        self._retired: list[Endpoint] = []
        self._opened: weakref.WeakSet[Endpoint] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._named = any(target.host is not None for target in self._targets)
        self._looked_at = 0.0
        self._next_look = 0.0
        self._looking = False
        self.close_last: Callable[[], Any] | None = None
        """Called when the client is closed, but not at Python's end; a coroutine function for asyncio."""
        self.rotation = Rotation(())
        """Gives each call its endpoint."""
        if not self._named:
            self.update({target: target.fixed for target in self._targets})

    @property
    def opened(self) -> list[Endpoint]:
        """All endpoints to close, including those that have no address now."""
        return list(self._opened)

    def begin_look(self) -> bool:
        """Return whether it is time to look the names up; the caller then does, by `look_up` and `update`."""
        if not self._named or self._looking or time.monotonic() < self._next_look:
            return False
        with self._lock:
            begins, self._looking = not self._looking, True
        return begins

    def look_up(self) -> dict[Target, tuple[str, ...]]:
        """Return the addresses of each target; waits for name servers."""
        found = {}
        for target in self._targets:
            try:
                found[target] = target.look_up()
            except (OSError, UnicodeError):  # keep what is known
                known = tuple(
                    address for text, address, number in self._endpoints if not number and text == target.text
                )
                found[target] = known or (target.text,)  # gRPC resolves it itself, and says what is wrong
        return found

    def update(self, found: Mapping[Target, Sequence[str]]) -> list[Endpoint]:
        """Take the addresses of each target, and return the endpoints to close.

        A removed address gets no new calls. Its running calls may continue until the lookup after the next.
        """
        with self._lock:
            endpoints = {
                key: self._endpoints.get(key) or self._open(target, address)
                for number in range(self._connections)  # outermost, so that servers take turns
                for target, addresses in found.items()
                for address in addresses
                for key in [(target.text, address, number)]
            }
            closing = self._retired
            self._retired = [each for key, each in self._endpoints.items() if key not in endpoints]
            self._endpoints = endpoints
            self._opened.update(endpoints.values())
            self.rotation.endpoints = tuple(endpoints.values())
            self._looked_at = time.monotonic()
            unknown = any(target.host is not None and tuple(found[target]) == (target.text,) for target in found)
            self._next_look = self._looked_at + (LOOK_AFTER_FAILURE_S if unknown else LOOK_EVERY_S)
            self._looking = False
        return closing

    def failed(self, endpoint: Endpoint, retry_after_s: float | None) -> bool:
        """Let an endpoint rest, and look its name up again soon; return whether another one is available."""
        if retry_after_s is None:
            self._next_look = min(self._next_look, self._looked_at + LOOK_AFTER_FAILURE_S)
        return self.rotation.failed(endpoint, retry_after_s)
