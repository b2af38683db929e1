"""Count the users of a model, so that it is closed only after the last one has finished."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

ThingT = TypeVar("ThingT")

_CHECK_S = 0.2  # between checks of `given_up`


class Lease(Generic[ThingT]):
    """One use of a thing, which ends with its `with` block. Made for every request, so it is plain."""

    __slots__ = ("_leases", "_thing")

    def __init__(self, leases: Leases, thing: ThingT) -> None:
        """Wrap a use of `thing` that `leases.acquire` began."""
        self._leases = leases
        self._thing = thing

    def __enter__(self) -> ThingT:
        return self._thing

    def __exit__(self, *_error: object) -> None:
        self._leases.release()


class Leases:
    """Counts the uses of one thing. Safe in any thread."""

    def __init__(self) -> None:
        # Taking a lock directly is ten times as fast as taking it through its condition.
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._count = 0
        self._retired = False

    def acquire(self) -> bool:
        """Begin a use; return False if the thing is retired."""
        with self._lock:
            if self._retired:
                return False
            self._count += 1
            return True

    def release(self) -> None:
        """End a use."""
        with self._lock:
            self._count -= 1
            if self._retired and not self._count:
                self._ended.notify_all()

    def retire(self) -> None:
        """Allow no new uses."""
        with self._lock:
            self._retired = True
            self._ended.notify_all()

    def wait_until_unused(self, timeout_s: float, given_up: threading.Event) -> int:
        """Wait for the last use to end, the timeout, or `given_up`, and return the number of uses left."""
        end = time.monotonic() + timeout_s
        with self._lock:
            while self._count and not given_up.is_set() and (left := end - time.monotonic()) > 0:
                self._ended.wait(min(left, _CHECK_S))
            return self._count
