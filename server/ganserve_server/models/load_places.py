"""Bound the loads that run at once, and let none that takes long keep the others waiting."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_SLOW_S = 5.0
_MOST_SLOW = 6  # each takes memory and a process


class LoadPlaces:
    """Places of loads. A load that takes long gives its place to another, and runs on beside it."""

    def __init__(self, quick: int, slow_s: float = _SLOW_S) -> None:
        """Let this many loads run at once beside up to six slow ones, which have taken `slow_s`."""
        self.most = quick + _MOST_SLOW
        """Loads that run at once at most."""
        self._places = threading.Semaphore(quick)
        self._slow_s = slow_s

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a place, and hold it until the block ends, or is slow."""
        self._places.acquire()
        returned = threading.Lock()  # whoever gets it returns the place

        def give_back() -> None:
            if returned.acquire(blocking=False):
                self._places.release()

        timer = threading.Timer(self._slow_s, give_back)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            give_back()
