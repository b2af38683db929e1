"""What is known of each call, and the counts of all: plain numbers on the event loop, read by who exports them."""

from __future__ import annotations

import contextvars
import random
import re
import time
from typing import TYPE_CHECKING

from ganserve_server.core.statistics import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST_ID_KEY = "x-request-id"
UNKNOWN_METHOD = "unknown"
OK = "OK"

_REQUEST_ID = re.compile(r"[!-~]{1,64}")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_random = random.Random()  # ids name calls in logs; they guard nothing


class Call:
    """One call, from its arrival to its end."""

    __slots__ = ("code", "entered", "message", "metadata", "method", "request", "request_id", "started")

    def __init__(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        self.method = method
        """Full name, such as "/ganserve.v1.GanService/Sample"."""
        self.metadata = metadata
        """What the client sent along, keys in lower case."""
        self.request_id = _request_id(metadata)
        """The client's own, or a new one."""
        self.started = time.perf_counter()
        self.code = OK
        """Name of the status that it ended with."""
        self.message = ""
        """Why it failed, as the client was told."""
        self.entered = 0
        """How many gates let it in."""
        self.request: object = None
        """The message that came with it; None: not read yet, or a stream of them."""


current_call: contextvars.ContextVar[Call | None] = contextvars.ContextVar("current_call", default=None)
"""The call that the running task works for; each call is a task of its own."""


class MethodStatistics:
    """Calls of one method that ended."""

    __slots__ = ("codes", "seconds")

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        """How many ended with each status."""
        self.seconds = Histogram(_SECONDS)
        """How long they took, streams from their first to their last message."""


class CallStatistics:
    """Calls of all methods."""

    def __init__(self) -> None:
        self.running = 0
        """Calls that arrived and have not ended."""
        self.methods: dict[str, MethodStatistics] = {UNKNOWN_METHOD: MethodStatistics()}
        """By name. A client cannot make these more than the methods that there are: others count as UNKNOWN_METHOD."""

    def add_method(self, method: str) -> None:
        """Makes a method known."""
        self.methods.setdefault(method, MethodStatistics())

    def count(self, method: str, code: str, seconds: float) -> None:
        """Counts a call that ended."""
        statistics = self.methods[method]
        statistics.codes[code] = statistics.codes.get(code, 0) + 1
        statistics.seconds.observe(seconds)


def _request_id(metadata: Sequence[tuple[str, str | bytes]]) -> str:
    for key, value in metadata:
        if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return f"{_random.getrandbits(64):016x}"
