"""What is known of each call, and the counts of all: plain numbers on the event loop, read by who exports them."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import random
import re
import time
from typing import TYPE_CHECKING

from ganserve_server.queue.statistics import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REQUEST_ID_KEY = "x-request-id"
UNKNOWN_METHOD = "unknown"
OK = "OK"

_REQUEST_ID = re.compile(r"[!-~]{1,64}")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_random = random.Random()  # ids name calls in logs; they guard nothing


class Call:
    """One call, from its arrival to its end. Made for every call, so only what differs is set."""

    code = OK
    """Name of the status that it ended with."""
    message = ""
    """Why it failed, as the client was told."""
    leaves: tuple[Callable[[], None], ...] = ()
    """What to do at its end, for the gates that let it in."""
    task: asyncio.Task[object] | None = None
    """What runs it, if it has one answer."""
    request: object = None
    """The message that came with it; None: it could not be read, or is a stream of them."""

    def __init__(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        self.started = time.perf_counter()
        self.method = method
        """Full name, such as "/ganserve.v1.GanService/Sample"."""
        self.metadata = metadata
        """What the client sent along, keys in lower case."""
        for key, value in metadata:
            if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
                self.request_id = value
                break
        else:
            self.request_id = f"{_random.getrandbits(64):016x}"
        """The client's own, or a new one."""


current_call: contextvars.ContextVar[Call | None] = contextvars.ContextVar("current_call", default=None)
"""The call that the running task works for; each call is a task of its own."""


class MethodStatistics:
    """Calls of one method that ended."""

    __slots__ = ("codes", "seconds")

    def __init__(self) -> None:
        self.codes: collections.Counter[str] = collections.Counter()
        """How many ended with each status."""
        self.seconds = Histogram(_SECONDS)
        """How long they took, streams from their first to their last message."""

    def count(self, code: str, seconds: float) -> None:
        """Count a call."""
        self.codes[code] += 1
        self.seconds.observe(seconds)


class CallStatistics:
    """Calls of all methods."""

    def __init__(self) -> None:
        self.running = 0
        """Calls that were let in and have not ended."""
        self.methods: dict[str, MethodStatistics] = {UNKNOWN_METHOD: MethodStatistics()}
        """By name. A client cannot make these more than the methods that there are: others count as UNKNOWN_METHOD."""

    def of(self, method: str) -> MethodStatistics:
        """Return the counts of a method that there is."""
        return self.methods.setdefault(method, MethodStatistics())
