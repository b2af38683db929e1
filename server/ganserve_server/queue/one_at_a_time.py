"""Tell whether requests come one at a time, as from one client that waits for each answer."""

from __future__ import annotations

import time

# A request that comes so soon after an answer waited while that was computed: its client is another one.
_SOON_S = 0.2e-3
# With so many skips, a client with one request at a time holds the event loop for at most 3 ms.
_MOST_SKIPS = 15


class OneAtATime:
    """The last answer of a graph; callers hold its batcher's lock."""

    def __init__(self) -> None:
        self._since: float | None = None

    def answered(self, *, alone: bool) -> None:
        """Note an answer, and whether no other request was in work then."""
        self._since = time.monotonic() if alone else None

    def comes_alone(self) -> bool:
        """Return True if the request that comes now is the only one of its time."""
        since, self._since = self._since, None
        return since is not None and time.monotonic() - since > _SOON_S


class Skips:
    """Requests that run at once, without waiting for others to share their call; each grant doubles their number."""

    def __init__(self) -> None:
        self._left = self._granted = 0

    def take(self) -> bool:
        """Return True if this request is one of them."""
        taken = self._left > 0
        self._left -= taken
        return taken

    def grant(self, *, alone: bool) -> None:
        """Grant the next ones after a request that stayed `alone`, else none."""
        self._left = self._granted = min(2 * self._granted + 1, _MOST_SKIPS) if alone else 0
