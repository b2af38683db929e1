"""Describe each running call, and count all calls by method and status."""

import asyncio
import collections
import contextvars
import random
import re
import time
from collections.abc import Sequence

from ganserve_server.identity.identity import Identity
from ganserve_server.queue.memory_budget import Account
from ganserve_server.queue.statistics import Histogram
from ganserve_server.tracing.spans import Trace

REQUEST_ID_KEY = "x-request-id"
UNKNOWN_METHOD = "unknown"
OK = "OK"

_REQUEST_ID = re.compile(r"[!-~]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-[0-9a-f]{2}.{0,400}")
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_random = random.Random()  # ids only identify calls in logs, so they need not be secret


class Call:
    """One call, from its arrival to its end. Made for every call, so defaults are class attributes."""

    code = OK
    """Name of its final status."""
    message = ""
    """The error message that its client gets."""
    task: asyncio.Task[object] | None = None
    """The task that runs it, if it has one answer."""
    identity = ""
    """Identity of the caller, if known; else the address stands for it."""
    who: Identity | None = None
    """The identity that sent it, in servers that know some."""
    reason = ""
    """Reason why its caller was refused, for the log."""
    revoked = False
    """True once its identity has ended while it ran."""
    account = Account()
    """The memory that it holds."""
    trace: Trace | None = None
    """Its spans, if it is traced."""
    slow = False
    """True once its request has taken a while to arrive."""
    stalled = False
    """True once its client was cut off because it sent or read nothing."""
    request: object = None
    """Its request, or its stream of requests; None if the request could not be read."""

    def __init__(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        self.started = time.perf_counter()
        self.method = method
        """Full name, such as "/ganserve.v1.GanService/Sample"."""
        self.metadata = metadata
        """The client's metadata, with keys in lower case."""
        for key, value in metadata:
            if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
                self.request_id = value
                break
        else:
            self.request_id = f"{_random.getrandbits(64):016x}"
        """The id that the client sent, or a new one."""

    @property
    def trace_ids(self) -> tuple[str, str]:
        """The ids of its trace and span, as logs show them: the client's if it is not traced here; else empty."""
        if self.trace is not None:
            return self.trace.trace_id, self.trace.span_id
        for key, value in self.metadata:
            if key == "traceparent" and isinstance(value, str) and (sent := _TRACEPARENT.fullmatch(value)):
                return sent[1], sent[2]
        return "", ""


current_call: contextvars.ContextVar[Call | None] = contextvars.ContextVar("current_call", default=None)
"""The call of the running task; each call has its own task."""


class MethodStatistics:
    """Counts of one method's finished calls."""

    __slots__ = ("codes", "seconds")

    def __init__(self) -> None:
        self.codes: collections.Counter[str] = collections.Counter()
        """Number of calls by status."""
        self.seconds = Histogram(_SECONDS)
        """Seconds from arrival to end; a stream is one call."""

    def count(self, code: str, seconds: float) -> None:
        """Count a call."""
        self.codes[code] += 1
        self.seconds.observe(seconds)


class CallStatistics:
    """Counts of all methods' calls."""

    def __init__(self) -> None:
        self.running = 0
        """Calls that have arrived and not ended."""
        self.methods: dict[str, MethodStatistics] = {UNKNOWN_METHOD: MethodStatistics()}
        """Counts by method. Unknown methods count as UNKNOWN_METHOD, so that clients cannot add entries."""

    def of(self, method: str) -> MethodStatistics:
        """Return the counts of an existing method."""
        return self.methods.setdefault(method, MethodStatistics())
