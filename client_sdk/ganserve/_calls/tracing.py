"""Take part in the traces of an application that has set up OpenTelemetry: a span for each call, and its traceparent.

This module never imports OpenTelemetry before the application does. Where OpenTelemetry's own instrumentation wraps
gRPC, that makes the spans, and this module makes none.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ganserve._config import ClientConfig

    Headers = tuple[tuple[str, str], ...]

_SERVICE = "ganserve.v1.GanService"
_INSTRUMENTATION = "opentelemetry.instrumentation.grpc"
# Baggage may have 8 KiB, which is more than servers take.
_MOST_HEADER_BYTES = 2**10


class CallSpan:
    """The span of one call, with all its attempts; the base class records nothing."""

    headers: Headers = ()
    """Metadata that tells the server about the span."""

    def end(self, error: BaseException | None = None) -> None:
        """End it, once."""

    def __enter__(self) -> Self:
        """Return the span."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """End it with the error of the block."""
        self.end(error)


NO_SPAN = CallSpan()


class _OpenTelemetrySpan(CallSpan):
    def __init__(self, api: Any, method: str, target: str, taken: Collection[str]) -> None:
        self._api = api
        self._span: Any = api.get_tracer("ganserve", version("ganserve")).start_span(
            f"{_SERVICE}/{method}",
            kind=api.SpanKind.CLIENT,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": _SERVICE,
                "rpc.method": method,
                "server.address": target,
            },
        )
        if self._span.get_span_context().is_valid:
            carrier: dict[str, str] = {}
            propagate: Any = importlib.import_module("opentelemetry.propagate")
            propagate.inject(carrier, api.set_span_in_context(self._span))
            self.headers = tuple(
                (name.lower(), value)
                for name, value in carrier.items()
                if name.lower() not in taken
                and len(value) <= _MOST_HEADER_BYTES
                and (value.isascii() and value.isprintable())
            )

    def end(self, error: BaseException | None = None) -> None:
        span, self._span = self._span, None
        if span is None:
            return
        if isinstance(error, Exception):
            kind = getattr(error, "code", None) or type(error).__name__
            span.set_attribute("error.type", str(kind))
            span.set_status(self._api.Status(self._api.StatusCode.ERROR, str(error)))
        span.end()


class Tracing:
    """Makes the spans of one client."""

    def __init__(self, config: ClientConfig, interceptors: Sequence[object], instrumentor: str) -> None:
        """Make spans for the calls of `config`, unless `interceptors` or an instrumentor of this name do."""
        self._target = config.target
        self._taken = {name for name, _ in config.metadata}
        self._instrumentor = instrumentor
        known = interceptors if isinstance(interceptors, Sequence) else ()  # connecting refuses others
        self._intercepted = any(type(each).__module__.startswith(_INSTRUMENTATION) for each in known)

    def begin(self, method: str) -> CallSpan:
        """Begin the span of a call, a child of the application's current one."""
        api: Any = sys.modules.get("opentelemetry.trace")
        if not hasattr(api, "get_tracer") or self._intercepted or self._instrumented():
            return NO_SPAN
        context: Any = importlib.import_module("opentelemetry.context")
        if context.get_value("suppress_instrumentation"):
            return NO_SPAN
        return _OpenTelemetrySpan(api, method, self._target, self._taken)

    def _instrumented(self) -> bool:
        """Return whether OpenTelemetry's instrumentation wraps the channels of this kind of client."""
        module = sys.modules.get(_INSTRUMENTATION)
        # The class keeps its only instance here; making another one would reset that.
        instance = getattr(getattr(module, self._instrumentor, None), "_instance", None)
        return bool(getattr(instance, "is_instrumented_by_opentelemetry", False))
