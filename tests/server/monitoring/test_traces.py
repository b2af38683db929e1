"""Test the traces: spans of calls in memory, and what a collector on the loopback gets of a server process."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorServer
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from collector import grpc_collector, http_collector
from ganserve._command_framework.options import UsageError
from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.errors import StartupError
from ganserve_server.monitoring.call_tracking import Call, current_call
from ganserve_server.monitoring.logs import JsonFormatter, _add_request_id
from ganserve_server.settings import ServerConfig
from ganserve_server.settings_sources import read_configuration
from ganserve_server.tracing.export import Tracing
from ganserve_server.tracing.opentelemetry_spans import ByLinks, OpenTelemetryTracer
from in_process import in_process_server
from server_process import running_server
from stubs import TIMEOUT_S, connected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
SERVICE = "ganserve.v1.GanService"


class Traced:
    """The tracer of a server in this process, and its spans."""

    def __init__(self, sampler: Any = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.sampler = ByLinks(self.provider.sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OpenTelemetryTracer(self.provider)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    @property
    def names(self) -> set[str]:
        return {span.name for span in self.spans}


def run(repository: Path, calls: Callable[[Any], Any], sampler: Any = None, traced: Traced | None = None) -> Traced:
    traced = traced or Traced(sampler)

    async def scenario() -> None:
        async with in_process_server(repository, max_batch_size=16, tracer=traced.tracer) as server:
            await calls(server)

    asyncio.run(scenario())
    return traced


def sample(server: Any, traceparent: str = "", **fields: Any) -> Any:
    metadata = (("traceparent", traceparent),) if traceparent else ()
    request = gan_service_pb2.SampleRequest(model="tiny", **fields)
    return server.gan.Sample(request, metadata=metadata, timeout=TIMEOUT_S)


def test_a_call_has_spans_for_its_parts_within_the_clients_trace(repository: Path) -> None:
    async def calls(server: Any) -> None:
        await sample(server, SAMPLED, count=3, encoding=tensor_pb2.ENCODING_PNG, return_scores=True)

    traced = run(repository, calls)
    (call,) = traced.named(f"{SERVICE}/Sample")
    assert call.context is not None
    assert call.parent is not None
    assert (f"{call.context.trace_id:032x}", f"{call.parent.span_id:016x}") == (TRACE, PARENT)
    assert call.kind.name == "SERVER"
    assert call.attributes is not None
    assert call.attributes["rpc.grpc.status_code"] == 0
    assert call.attributes["ganserve.model"] == "tiny"
    assert call.attributes["ganserve.request_id"]
    graphs = ["tiny/2/generator", "tiny/2/critic"]
    parts = [span for name in ("queue", "compute", "encode") for span in traced.named(name)]
    assert [(span.name, (span.attributes or {}).get("ganserve.graph")) for span in parts] == [
        *(("queue", graph) for graph in graphs),
        *(("compute", graph) for graph in graphs),
        ("encode", None),
    ]
    for span in parts:
        assert span.parent == call.context
        assert call.start_time <= span.start_time <= span.end_time <= call.end_time  # type: ignore[operator]
    for batch, compute in zip(traced.named("batch"), traced.named("compute"), strict=True):
        assert batch.parent is None
        assert [link.context for link in batch.links] == [call.context]
        assert [link.context for link in compute.links] == [batch.context]


def test_a_batch_is_linked_to_all_calls_that_it_serves(repository: Path) -> None:
    async def calls(server: Any) -> None:
        # The bulk request keeps the worker busy, while the others gather.
        await asyncio.gather(sample(server, count=2000), *(sample(server, count=1) for _ in range(40)))

    traced = run(repository, calls)
    served = [[link.context.span_id for link in batch.links] for batch in traced.named("batch")]
    assert max(map(len, served)) > 1
    sampled = {call.context.span_id for call in traced.named(f"{SERVICE}/Sample") if call.context}
    assert len(sampled) == 41
    assert {span_id for batch in served for span_id in batch} == sampled
    split = run(repository, lambda server: sample(server, count=100))
    (compute,) = split.named("compute")
    assert len(compute.links) == len(split.named("batch")) >= 100 / 16


def test_the_client_decides_about_sampling_and_others_follow_the_sampler(repository: Path) -> None:
    async def calls(server: Any) -> None:
        await sample(server, UNSAMPLED, count=1)
        await sample(server, count=1)
        await sample(server, "not a traceparent", count=1)
        await asyncio.gather(sample(server, SAMPLED, count=1), sample(server, UNSAMPLED, count=1))

    traced = run(repository, calls, ParentBased(ALWAYS_OFF))
    assert traced.names == {f"{SERVICE}/Sample", "queue", "compute", "batch"}
    (call,) = traced.named(f"{SERVICE}/Sample")
    assert [link.context for link in traced.named("batch")[0].links] == [call.context]


def test_failures_and_streams_have_spans_and_unknown_methods_have_none(repository: Path) -> None:
    async def calls(server: Any) -> None:
        with pytest.raises(grpc.RpcError):
            await sample(server, count=0)
        with pytest.raises(grpc.RpcError):
            await server.channel.unary_unary("/no/Method")(b"", timeout=TIMEOUT_S)
        request = gan_service_pb2.StreamSamplesRequest(
            request=gan_service_pb2.SampleRequest(model="tiny", count=40), chunk_size=8
        )
        async for _ in server.gan.StreamSamples(request, timeout=TIMEOUT_S):
            pass

    traced = run(repository, calls)
    assert traced.names == {f"{SERVICE}/Sample", f"{SERVICE}/StreamSamples", "queue", "compute", "batch"}
    (failed,) = traced.named(f"{SERVICE}/Sample")
    assert (failed.attributes or {})["rpc.grpc.status_code"] == 3
    assert failed.status.status_code.name == "UNSET"  # the client's fault
    (stream,) = traced.named(f"{SERVICE}/StreamSamples")
    assert [span.parent for span in traced.named("compute")] == [stream.context] * 5


def test_under_other_instrumentation_the_span_of_a_call_is_theirs(repository: Path) -> None:
    async def calls(server: Any) -> None:
        await sample(server, SAMPLED, count=2)

    traced = Traced()
    instrumentor = GrpcAioInstrumentorServer()
    instrumentor.instrument(tracer_provider=traced.provider)
    try:
        run(repository, calls, traced=traced)
    finally:
        instrumentor.uninstrument()
    (call,) = [span for span in traced.spans if span.kind.name == "SERVER"]
    assert [span.parent for span in (*traced.named("queue"), *traced.named("compute"))] == [call.context] * 2


def test_strangers_leave_no_span_and_nonsense_harms_no_call(repository: Path) -> None:
    traced = Traced()
    for code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        trace = traced.tracer.begin("/a/B", (("traceparent", SAMPLED), ("tracestate", "a=1,a=2," * 600)), 0.1)
        assert trace is not None
        trace.end(code, {})
    (span,) = traced.spans
    assert (span.attributes or {})["rpc.grpc.status_code"] == 7

    class Broken(OpenTelemetryTracer):
        def begin(self, *_: Any) -> Any:
            raise RuntimeError

    async def calls(server: Any) -> None:
        assert (await sample(server, count=2)).seed

    traced.tracer = Broken(traced.provider)
    assert run(repository, calls, traced=traced).spans == (span,)


@pytest.mark.parametrize("collecting", [grpc_collector, pytest.param(http_collector, marks=pytest.mark.slow)])
def test_a_collector_gets_the_spans_and_logs_name_them(repository: Path, collecting: Any) -> None:
    with collecting() as collector:
        protocol = "grpc" if collecting is grpc_collector else "http/protobuf"
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_SERVICE_NAME": "gan-eu",
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",  # so that the end sends them
        }
        flags = ("--log-format", "json", "--access-log", "all")
        with running_server(repository, *flags, environment=environment) as server, connected(server.address) as stubs:
            stubs.gan.Sample(
                gan_service_pb2.SampleRequest(model="tiny", count=2),
                metadata=[("traceparent", SAMPLED)],
                timeout=TIMEOUT_S,
            )
            server.terminate()
            assert server.wait() == 0
            lines = [json.loads(line) for line in server.log.splitlines()]
        spans = {span.name: span for span in collector.wait_for(f"{SERVICE}/Sample", "queue", "compute", "batch")}
        assert collector.resource["service.name"] == "gan-eu"
    call = spans[f"{SERVICE}/Sample"]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    (access,) = (line for line in lines if line["logger"] == "ganserve_server.access")
    assert (access["trace_id"], access["span_id"]) == (TRACE, call.span_id.hex())
    assert any(f"otlp_endpoint = {collector.endpoint} (OTEL_EXPORTER_OTLP_ENDPOINT)" in str(line) for line in lines)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [(UNSAMPLED, (TRACE, PARENT)), (f"00-{'0' * 32}-{PARENT}-01", ("", "")), ('x"', ("", "")), (b"x", ("", ""))],
)
def test_logs_name_the_clients_trace_without_tracing(sent: str | bytes, shown: tuple[str, str]) -> None:
    token = current_call.set(Call("/x/Y", (("traceparent", sent),)))
    try:
        record = logging.makeLogRecord({"msg": "something"})
        assert _add_request_id(record)
    finally:
        current_call.reset(token)
    fields = json.loads(JsonFormatter().format(record))
    assert (fields.get("trace_id", ""), fields.get("span_id", "")) == shown


@pytest.mark.slow
def test_an_unreachable_collector_delays_nothing(repository: Path) -> None:
    with running_server(repository, "--otlp-endpoint", "http://127.0.0.1:9") as server:
        with connected(server.address) as stubs:
            stubs.sample(model="tiny", count=2)
        server.terminate()
        assert server.wait(30) == 0


def test_without_an_endpoint_opentelemetry_is_not_imported() -> None:
    program = (
        "import sys, ganserve_server.queue.batcher\n"
        "from ganserve_server.tracing.export import Tracing\n"
        "assert Tracing(None).tracer is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://one:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://two:4317"}
    assert read_configuration([], both).config.otlp_endpoint == "http://two:4317"
    assert read_configuration([], {**both, "GANSERVE_OTLP_ENDPOINT": "http://x"}).config.otlp_endpoint == "http://x"
    assert read_configuration(["--otlp-endpoint=http://y"], both).config.otlp_endpoint == "http://y"
    for off in ({"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}):
        assert read_configuration([], {**both, **off}).config.otlp_endpoint is None
    for wrong in (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
        {"GANSERVE_TRACE_RATIO": "2"},
    ):
        with pytest.raises(Exception, match=next(iter(wrong))):
            read_configuration([], wrong)
    with pytest.raises(UsageError, match=r"PROTOCOL http/json: not a choice\. Give one of grpc, http\.$"):
        read_configuration([], {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
    with pytest.raises(ValueError, match="--trace-ratio nan: must be 0 to 1"):
        ServerConfig(trace_ratio=float("nan"))
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    # Whatever another test of this process has set up.
    monkeypatch.setattr("ganserve_server.tracing.export.application_tracer", lambda: None)
    with pytest.raises(StartupError, match=r"^--otlp-endpoint http://x: traces need .*ganserve\[otel\]"):
        Tracing("http://x")
