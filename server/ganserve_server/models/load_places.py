"""Bound the loads that run at once, and let none that takes long keep the others waiting."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class LoadPlaces:
    """Places of loads. Those that took long before get all but one of them, so that new ones always find one."""

    def __init__(self, most: int) -> None:
        """Let this many loads run at once, at least two."""
        self.most, self.most_again = most, most - 1
        """Loads that run at once at most, and those among them that took long before."""
        self._changed = threading.Condition()
        self._free = most
        self._waiting = {False: 0, True: 0}

    def announce(self, *, again: bool) -> None:
        """Note that a load will come for a place; `again` if it took long before."""
        with self._changed:
            self._waiting[again] += 1

    def wanted(self, *, again: bool) -> bool:
        """Return whether a load waits for a place."""
        return self._waiting[again] > 0

    @contextlib.contextmanager
    def taken(self, *, again: bool) -> Iterator[None]:
        """Wait for a place and hold it until the block ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > (1 if again and self._waiting[False] else 0))
            self._free -= 1
            self._waiting[again] -= 1
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()
