"""Keeps captures of CUDA graphs apart from everything else on the devices.

onnxruntime captures in CUDA's global mode: while one thread captures, a copy or an allocation in any other fails, and
the capture with it.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Captures:
    """Lets calls run side by side, and captures alone. A capture that waits goes before calls that come later."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._calls = 0
        self._waiting = 0
        self._capturing = False

    @contextlib.contextmanager
    def none(self) -> Iterator[None]:
        """Wait until nobody captures, and keeps it so."""
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
    def alone(self) -> Iterator[None]:
        """Wait for the calls that run, and keeps others waiting."""
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
