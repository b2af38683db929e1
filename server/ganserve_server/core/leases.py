"""Counts who uses something, so that it ends after the last of them and not before."""

from __future__ import annotations

import threading
import time

_LOOK_S = 0.2  # between looks whether it was given up


class Leases:
    """Those who use one thing. Safe in any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0
        self._retired = False

    def acquire(self) -> bool:
        """Begins a use; False: it is retired, and there are no new uses."""
        with self._condition:
            if self._retired:
                return False
            self._count += 1
            return True

    def release(self) -> None:
        """Ends a use."""
        with self._condition:
            self._count -= 1
            if self._retired and not self._count:
                self._condition.notify_all()

    def retire(self) -> None:
        """Allows no new uses."""
        with self._condition:
            self._retired = True
            self._condition.notify_all()

    def wait_until_unused(self, timeout_s: float, given_up: threading.Event) -> int:
        """Waits until the last use has ended, the time is over or `given_up` is set; returns how many are left."""
        end = time.monotonic() + timeout_s
        with self._condition:
            while self._count and not given_up.is_set() and (left := end - time.monotonic()) > 0:
                self._condition.wait(min(left, _LOOK_S))
            return self._count
