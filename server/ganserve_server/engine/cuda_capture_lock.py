"""Separate the capture of CUDA graphs from all other work on the devices.

onnxruntime captures in CUDA's global mode: while one thread captures, a copy or an allocation in any other thread
fails, and so does the capture.
"""

import contextlib
import threading
from collections.abc import Iterator


class CaptureLock:
    """A lock that calls share and captures hold alone. A waiting capture goes before later calls."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._calls = 0
        self._waiting = 0
        self._capturing = False

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Wait until no thread captures, and keep captures waiting until the block ends."""
        with self._condition:
            while self._capturing or self._waiting:
                self._condition.wait()
            self._calls += 1
        try:
            yield
        finally:
            with self._condition:
                self._calls -= 1
                if not self._calls and self._waiting:
                    self._condition.notify_all()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait for all running calls, and keep others waiting until the block ends."""
        with self._condition:
            self._waiting += 1
            while self._capturing or self._calls:
                self._condition.wait()
            self._waiting -= 1
            self._capturing = True
        try:
            yield
        finally:
            with self._condition:
                self._capturing = False
                self._condition.notify_all()
