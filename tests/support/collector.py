"""Collect spans: a collector of OTLP on a free port of the loopback, by gRPC and by HTTP."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(service.TraceServiceServicer):
    def __init__(self) -> None:
        self.requests: list[messages.ExportTraceServiceRequest] = []
        self._came = threading.Condition()
        self.endpoint = ""

    def Export(self, request: messages.ExportTraceServiceRequest, context: Any) -> Any:  # noqa: N802
        with self._came:
            self.requests.append(request)
            self._came.notify_all()
        return messages.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        scopes = (scope for request in self.requests for part in request.resource_spans for scope in part.scope_spans)
        return [span for scope in scopes for span in scope.spans]

    @property
    def resource(self) -> dict[str, str]:
        part = self.requests[0].resource_spans[0]
        return {each.key: each.value.string_value for each in part.resource.attributes}

    def wait_for(self, *names: str, timeout_s: float = 60) -> list[Span]:
        """Return the spans once there is one of each of these names."""
        deadline = time.monotonic() + timeout_s
        with self._came:
            while missing := set(names) - {span.name for span in self.spans}:
                assert self._came.wait(deadline - time.monotonic()), f"no {missing} among {self.spans}"
        return self.spans


@contextlib.contextmanager
def grpc_collector() -> Iterator[Collector]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    service.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def http_collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.Export(messages.ExportTraceServiceRequest.FromString(body), None)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
