"""Record events of the running call in its trace. Without tracing this only reads a variable.

Nothing here imports OpenTelemetry; `opentelemetry_spans` records. Times are values of `time.monotonic()`.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

NO_SPAN: AbstractContextManager[Any] = contextlib.nullcontext()


class Trace(Protocol):
    """The spans of one call that is sampled."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits: the call's own span."""

    def add(
        self,
        name: str,
        started: float,
        ended: float,
        attributes: dict[str, str | int],
        *,
        batches: Sequence[object] = (),
        error: str = "",
    ) -> None:
        """Add a part of the call, and link it to the batches that it was computed in."""

    def batch(self, graph: str, served: Sequence[GraphSpans], samples: int) -> AbstractContextManager[None]:
        """Return a block that is the span of a model call, linked to the calls that it serves."""

    def end(self, code: str, attributes: dict[str, str | int]) -> None:
        """End the call with a status."""


class CallTracer(Protocol):
    """Traces the calls of a server."""

    def begin(self, method: str, metadata: Sequence[tuple[str, str | bytes]], age_s: float) -> Trace | None:
        """Begin the trace of a call that arrived `age_s` ago; return None if it is not sampled."""


running_trace: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("running_trace", default=None)
"""The trace of the running call; None if it is not traced."""


@contextlib.contextmanager
def part(name: str, attributes: dict[str, str | int]) -> Iterator[None]:
    """Make a block a span of the running call, if that is traced."""
    trace = running_trace.get()
    if trace is None:
        yield
        return
    started, error = time.monotonic(), ""
    try:
        yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        trace.add(name, started, time.monotonic(), attributes, error=error)


class GraphSpans:
    """The spans of one request at one graph: `queue` until its first model call, `compute` from there to its last."""

    __slots__ = ("_arrived", "_attributes", "_batches", "_ended", "_started", "trace")

    def __init__(self, trace: Trace, graph: str, samples: int) -> None:
        self.trace = trace
        self._attributes: dict[str, str | int] = {"ganserve.graph": graph, "ganserve.samples": samples}
        self._arrived = time.monotonic()
        self._started = self._ended = 0.0
        self._batches: list[object] = []

    @classmethod
    def of_running(cls, graph: str, samples: int) -> GraphSpans | None:
        """Return the spans of the running call at a graph; None if the call is not traced."""
        trace = running_trace.get()
        return None if trace is None else cls(trace, graph, samples)

    def ran(self, started: float, ended: float, batch: object) -> None:
        """Note a model call that computed some of the samples."""
        self._started, self._ended = self._started or started, max(self._ended, ended)
        self._batches.append(batch)

    def __enter__(self) -> None:
        """Begin to wait."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Add the spans."""
        failure = "" if error is None else type(error).__name__
        now = time.monotonic()
        began = bool(self._batches)
        queued_until = self._started if began else now
        self.trace.add("queue", self._arrived, queued_until, self._attributes, error="" if began else failure)
        if began:
            self.trace.add(
                "compute", self._started, self._ended, self._attributes, batches=self._batches, error=failure
            )


def batch_span(graph: str, served: Sequence[GraphSpans], samples: int) -> AbstractContextManager[None]:
    """Return a block that is the span of a model call; one without effect if it serves no traced call."""
    return served[0].trace.batch(graph, served, samples) if served else NO_SPAN
