"""Send spans to a collector by OTLP, or through the OpenTelemetry set-up of the process's application.

Without an endpoint or such a set-up, send nothing and do not import OpenTelemetry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ganserve_server.errors import StartupError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from ganserve_server.tracing.opentelemetry_spans import OpenTelemetryTracer

Protocol = Literal["grpc", "http"]

_FLUSH_S = 2.0  # a collector that does not answer must not hold up the end
_HTTP_PATH = "/v1/traces"
_log = logging.getLogger(__name__)


class Tracing:
    """The tracing of a server; `tracer` is None if it is off."""

    def __init__(self, endpoint: str | None, protocol: Protocol = "grpc", ratio: float | None = None) -> None:
        """Begin to send spans to `endpoint`, a checked URL; raise StartupError without the extra `otel`.

        If the process has already set up OpenTelemetry, as by `opentelemetry-instrument`, its set-up sends them.

        `ratio` is the share of calls to sample whose client says nothing about it; None leaves it to OpenTelemetry's
        own variables, whose default is 1.
        """
        self.tracer: OpenTelemetryTracer | None = application_tracer()
        """Traces the calls."""
        self._provider: TracerProvider | None = None
        if endpoint is None or self.tracer is not None:
            return
        try:
            self._provider = _provider(endpoint, protocol, ratio)
        except ImportError as error:
            raise StartupError(
                f"--otlp-endpoint {endpoint}: traces need {error.name or 'OpenTelemetry'}, which is not installed. "
                "Run `pip install 'ganserve[otel]'`, or leave the endpoint out."
            ) from error
        from ganserve_server.tracing.opentelemetry_spans import OpenTelemetryTracer

        self.tracer = OpenTelemetryTracer(self._provider)

    async def close(self) -> None:
        """Send what is left, for at most two seconds."""
        if self._provider is None:
            return
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def flush(provider: TracerProvider) -> None:
            provider.force_flush()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(sent.set)

        # The end of the process waits for the threads of `asyncio.to_thread`, but not for this one.
        threading.Thread(target=flush, args=(self._provider,), name="last-spans", daemon=True).start()
        try:
            await asyncio.wait_for(sent.wait(), _FLUSH_S)
        except TimeoutError:
            _log.warning("the last spans were not sent: the collector did not take them within %g s", _FLUSH_S)


def application_tracer() -> OpenTelemetryTracer | None:
    """Return a tracer that uses what this process has set up of OpenTelemetry; None if it has set up nothing."""
    api, sdk = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.sdk.trace")
    if api is None or sdk is None or not isinstance(provider := api.get_tracer_provider(), sdk.TracerProvider):
        return None
    from ganserve_server.tracing.opentelemetry_spans import OpenTelemetryTracer

    return OpenTelemetryTracer(provider)


def _provider(endpoint: str, protocol: Protocol, ratio: float | None) -> TracerProvider:
    from importlib.metadata import version

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    from ganserve_server.tracing.opentelemetry_spans import ByLinks

    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override these.
    own = Resource({"service.name": "ganserve", "service.version": version("ganserve")})
    detected = Resource.create()
    unnamed = str(detected.attributes.get("service.name", "")).startswith("unknown_service")
    provider = TracerProvider(
        sampler=None if ratio is None else ParentBased(TraceIdRatioBased(ratio)),
        resource=detected.merge(own) if unnamed else own.merge(detected),
        shutdown_on_exit=False,
    )
    provider.sampler = ByLinks(provider.sampler)
    provider.add_span_processor(BatchSpanProcessor(_exporter(endpoint, protocol)))
    return provider


def _exporter(endpoint: str, protocol: Protocol) -> SpanExporter:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(endpoint=endpoint)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    path = "" if urlsplit(endpoint).path.endswith(_HTTP_PATH) else _HTTP_PATH
    return HttpExporter(endpoint=f"{endpoint.rstrip('/')}{path}")
