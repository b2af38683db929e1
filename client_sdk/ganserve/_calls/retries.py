"""Decide when to try a failed call again, and after which pause."""

import math
import random
import time

from ganserve._errors import GanserveError, RequestCancelled, ServerOverloaded, ServerUnavailable

_FIRST_PAUSE_S, _GROWTH, _LONGEST_PAUSE_S = 0.1, 2.0, 2.0


def may_pass(failure: GanserveError) -> bool:
    """Return whether the same call may succeed a little later, or at another server."""
    if isinstance(failure, ServerOverloaded):
        return failure.retry_after_s is not None
    return isinstance(failure, ServerUnavailable | RequestCancelled)


class Attempts:
    """The attempts of one call, or of one batch of a stream, inside its deadline.

    Every call is safe to repeat: the seed of samples is drawn before the first attempt, and other calls change nothing.
    """

    __slots__ = ("_end", "_most", "made")

    def __init__(self, timeout_s: float, most: int | None) -> None:
        """Start the clock of all attempts together, at most `most` at all servers; None: as many as the time allows."""
        self._end = time.monotonic() + timeout_s
        self._most = most
        self.made = 1
        """Attempts so far, including the running one."""

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline for gRPC: None without one, and at least 1 ms, because gRPC refuses 0."""
        return None if math.isinf(self._end) else max(1e-3, self._end - time.monotonic())

    def pause_s(self, failure: GanserveError, *, elsewhere: bool) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is none.

        `may_pass` is true of the failure. An attempt `elsewhere`, at another server, needs no pause.
        """
        asked_s = (failure.retry_after_s if isinstance(failure, ServerOverloaded) else None) or 0.0
        if self._most is not None and self.made >= self._most:
            return None
        if elsewhere:
            self.made += 1
            return 0.0
        backoff_s = min(_FIRST_PAUSE_S * _GROWTH ** min(self.made - 1, 16), _LONGEST_PAUSE_S)
        # A random share spreads the retries of clients that failed at the same time.
        pause_s = asked_s + backoff_s * random.uniform(0.5, 1.0)
        if time.monotonic() + pause_s >= self._end:
            return None
        self.made += 1
        return pause_s
