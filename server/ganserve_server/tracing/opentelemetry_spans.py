"""Record the spans of calls by OpenTelemetry.

A call has a span of its own, the child of its client's (W3C `traceparent`), and children for its parts. A model call
serves several calls, so its span, `batch`, is the child of none: it is linked to all that it serves, and their parts to
it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from ganserve_server.tracing.spans import GraphSpans

_W3C = TraceContextTextMapPropagator()
_FROM_CLIENT = frozenset(_W3C.fields)
# Statuses that are the server's fault, by OpenTelemetry's conventions for RPC.
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
_STRANGER = "UNAUTHENTICATED"


class OpenTelemetryTracer:
    """Traces calls with the tracers of a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = trace.get_tracer("ganserve", tracer_provider=provider)

    def begin(self, method: str, metadata: Sequence[tuple[str, str | bytes]], age_s: float) -> CallTrace | None:
        """Begin the trace of a call; see `spans.CallTracer`.

        Where other instrumentation has made a span of the call, this adds only its parts.
        """
        others = trace.get_current_span()
        if others.get_span_context().is_valid:
            return CallTrace(self._tracer, others, own=False) if others.is_recording() else None
        sent = {key: value for key, value in metadata if key in _FROM_CLIENT and isinstance(value, str)}
        service, _, name = method.removeprefix("/").partition("/")
        span = self._tracer.start_span(
            method.removeprefix("/"),
            _W3C.extract(sent, Context()) if sent else Context(),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
            start_time=time.time_ns() - int(age_s * 1e9),
        )
        return CallTrace(self._tracer, span, own=True) if span.is_recording() else None


class CallTrace:
    """The spans of one call; see `spans.Trace`."""

    def __init__(self, tracer: trace.Tracer, span: Span, *, own: bool) -> None:
        self._tracer = tracer
        self._span = span
        self._own = own
        self._context = trace.set_span_in_context(span, Context())
        self.context = span.get_span_context()
        """Identifies the call's span."""
        self.trace_id = trace.format_trace_id(self.context.trace_id)
        self.span_id = trace.format_span_id(self.context.span_id)

    def add(
        self,
        name: str,
        started: float,
        ended: float,
        attributes: Attributes,
        *,
        batches: Sequence[object] = (),
        error: str = "",
    ) -> None:
        """Add a part of the call."""
        links = [Link(batch) for batch in batches if isinstance(batch, trace.SpanContext)]
        span = self._tracer.start_span(
            name, self._context, attributes=attributes, links=links, start_time=_nanoseconds(started)
        )
        _end(span, error, ended)

    @contextlib.contextmanager
    def batch(self, graph: str, served: Sequence[GraphSpans], samples: int) -> Iterator[None]:
        """Return a block that is the span of a model call; runs on the threads of workers, too."""
        own = (each.trace for each in served)
        calls = {call.span_id: call.context for call in own if isinstance(call, CallTrace)}
        started, error = time.monotonic(), ""
        span = self._tracer.start_span(
            "batch",
            Context(),
            attributes={"ganserve.graph": graph, "ganserve.samples": samples, "ganserve.calls": len(calls)},
            links=[Link(context) for context in calls.values()],
        )
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            ended = time.monotonic()
            for each in served:
                each.ran(started, ended, span.get_span_context())
            _end(span, error, ended)

    def end(self, code: str, attributes: dict[str, str | int]) -> None:
        """End the call. A call whose caller the server does not know leaves no span: strangers must not fill traces."""
        self._span.set_attributes(attributes)
        if not self._own or code == _STRANGER:
            return
        self._span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
        if code in _FAULTS:
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()


class ByLinks(sampling.Sampler):
    """Samples a span without a parent like the calls that it is linked to, and others as another sampler does."""

    def __init__(self, others: sampling.Sampler) -> None:
        self._others = others

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: trace.TraceState | None = None,
    ) -> sampling.SamplingResult:
        """Return the decision."""
        if links and not trace.get_current_span(parent_context).get_span_context().is_valid:
            sampled = any(link.context.trace_flags.sampled for link in links)
            decision = sampling.Decision.RECORD_AND_SAMPLE if sampled else sampling.Decision.DROP
            return sampling.SamplingResult(decision, attributes)
        return self._others.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Return a description in words."""
        return f"ByLinks{{{self._others.get_description()}}}"


def _end(span: Span, error: str, ended: float) -> None:
    if error:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(_nanoseconds(ended))


def _nanoseconds(moment: float) -> int:
    """Return a moment of `time.monotonic()` in nanoseconds since 1970."""
    return time.time_ns() - int((time.monotonic() - moment) * 1e9)
