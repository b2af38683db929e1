"""Decide when to try a failed call again, and after which pause."""

import math
import random
import time

from ganserve._calls.failures import never_connected
from ganserve._errors import DeadlineExceeded, GanserveError, RequestCancelled, ServerOverloaded, ServerUnavailable

_FIRST_PAUSE_S, _GROWTH, _LONGEST_PAUSE_S = 0.1, 2.0, 2.0


def may_pass(failure: GanserveError) -> bool:
    """Return whether the same call may succeed a little later, or at another server."""
    if isinstance(failure, ServerOverloaded):
        return failure.retry_after_s is not None
    return isinstance(failure, ServerUnavailable | RequestCancelled | DeadlineExceeded)


class Attempts:
    """The attempts of one call, or of one batch of a stream, inside its deadline.

    Every call is safe to repeat: the seed of samples is drawn before the first attempt, and other calls change nothing.
    """

    __slots__ = ("_end", "_most", "_telling", "made")

    def __init__(self, timeout_s: float, most: int | None) -> None:
        """Start the clock of all attempts together, at most `most` at all servers; None: as many as the time allows."""
        self._end = time.monotonic() + timeout_s
        self._most = most
        self._telling: GanserveError | None = None
        self.made = 1
        """Attempts so far, including the running one."""

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline for gRPC: None without one, and at least 1 ms, because gRPC refuses 0."""
        return None if math.isinf(self._end) else max(1e-3, self._end - time.monotonic())

    def share_s(self, servers: int) -> float | None:
        """Return the deadline of this attempt for gRPC: a share of the time left, if other servers are available."""
        left_s = self.left_s
        attempts = servers if self._most is None else min(servers, self._most - self.made + 1)
        return left_s if left_s is None or attempts < 2 else max(1e-3, left_s / attempts)

    def told(self, failure: GanserveError) -> GanserveError:
        """Return the failure to raise: at addresses of one server, others say more than "connection refused"."""
        refused = "refused" in failure.details and never_connected(failure)
        return self._telling if refused and self._telling is not None else failure

    def pause_s(self, failure: GanserveError, *, elsewhere: bool) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is none.

        An attempt `elsewhere`, at another server, needs no pause. If nothing was sent, the failed one does not count.
        """
        asked_s = (failure.retry_after_s if isinstance(failure, ServerOverloaded) else None) or 0.0
        unsent = elsewhere and never_connected(failure)
        if unsent and "refused" not in failure.details:
            self._telling = failure
        if self._most is not None and self.made >= self._most and not unsent:
            return None
        if elsewhere:
            self.made += not unsent
            return 0.0 if time.monotonic() < self._end else None
        if isinstance(failure, DeadlineExceeded):  # it had all the time that was left
            return None
        backoff_s = min(_FIRST_PAUSE_S * _GROWTH ** min(self.made - 1, 16), _LONGEST_PAUSE_S)
        # A random share spreads the retries of clients that failed at the same time.
        pause_s = asked_s + backoff_s * random.uniform(0.5, 1.0)
        if time.monotonic() + pause_s >= self._end:
            return None
        self.made += 1
        return pause_s
