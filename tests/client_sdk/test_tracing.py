"""Test the SDK's part in an application's traces, with a real server whose access log names the trace."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ganserve import AsyncClient, Client, InvalidRequest
from server_process import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server_process import ServerProcess


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Set up OpenTelemetry, as an application does."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


@pytest.fixture(scope="module")
def logging_server(repository: Path) -> Iterator[ServerProcess]:
    with running_server(repository, "--log-format", "json", "--access-log", "all") as server:
        yield server


def finished(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name.removeprefix("ganserve.v1.GanService/"): span for span in spans.get_finished_spans()}


def logged(server: ServerProcess) -> dict[str, dict[str, Any]]:
    """Return the access log's last line of each method."""
    lines = [json.loads(line) for line in server.log.splitlines() if "/ganserve.v1.GanService/" in line]
    return {line["method"].removeprefix("/ganserve.v1.GanService/"): line for line in lines if "method" in line}


def check(spans: InMemorySpanExporter, server: ServerProcess) -> None:
    found, lines = finished(spans), logged(server)
    root = found.pop("job")
    assert root.context is not None
    assert set(found) == {"Sample", "StreamSamples", "Score", "StreamScores", "GetModel"}
    for method, span in found.items():
        assert span.context is not None
        assert span.parent == root.context
        assert span.kind is trace.SpanKind.CLIENT
        assert lines[method]["trace_id"] == f"{span.context.trace_id:032x}"
        assert lines[method]["span_id"] == f"{span.context.span_id:016x}"


def test_each_call_is_a_span_whose_id_reaches_the_server(
    spans: InMemorySpanExporter, logging_server: ServerProcess
) -> None:
    with (
        trace.get_tracer("application").start_as_current_span("job"),
        Client(logging_server.address, model="tiny") as client,
    ):
        batch = client.sample(2, "one")
        list(client.stream(9, chunk_size=2))
        client.score(batch)
        list(client.score_stream([batch] * 3))
    check(spans, logging_server)


def test_the_same_with_asyncio(spans: InMemorySpanExporter, logging_server: ServerProcess) -> None:
    async def calls() -> None:
        with trace.get_tracer("application").start_as_current_span("job"):
            async with AsyncClient(logging_server.address, model="tiny") as client:
                batch = await client.sample(2, "one")
                async for _ in client.stream(9, chunk_size=2):
                    pass
                await client.score(batch)
                async for _ in client.score_stream([batch] * 3):
                    pass

    asyncio.run(calls())
    check(spans, logging_server)


def test_a_local_server_adds_its_spans(spans: InMemorySpanExporter, repository: Path) -> None:
    with Client.local(repository, model="tiny") as client:
        client.sample(2, "one")
    ours, theirs = (
        [span for span in spans.get_finished_spans() if span.kind is kind and span.name.endswith("/Sample")]
        for kind in (trace.SpanKind.CLIENT, trace.SpanKind.SERVER)
    )
    (client_span,), (server_span,) = ours, theirs
    assert server_span.parent is not None
    assert client_span.context is not None
    assert server_span.parent.span_id == client_span.context.span_id
    assert [span.parent for span in spans.get_finished_spans() if span.name == "compute"] == [server_span.context]


def test_failures_are_told_and_a_stream_that_is_left_ends(
    spans: InMemorySpanExporter, logging_server: ServerProcess
) -> None:
    with Client(logging_server.address, model="tiny") as client:
        with pytest.raises(InvalidRequest):
            client.sample(1, "nine")
        with client.stream(10_000, chunk_size=2) as stream:
            next(stream)
    found = finished(spans)
    assert found["Sample"].status.status_code is trace.StatusCode.ERROR
    assert (found["Sample"].attributes or {})["error.type"] == "INVALID_ARGUMENT"
    assert found["StreamSamples"].status.status_code is trace.StatusCode.UNSET


def test_an_own_traceparent_and_suppression_are_respected(
    spans: InMemorySpanExporter, logging_server: ServerProcess
) -> None:
    own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with Client(logging_server.address, model="tiny", metadata={"traceparent": own}) as client:
        client.sample(1, "one")
    assert logged(logging_server)["Sample"]["trace_id"] == own[3:35]
    spans.clear()
    with suppress_instrumentation(), Client(logging_server.address, model="tiny") as client:
        client.sample(1, "one")
    assert spans.get_finished_spans() == ()
    assert "trace_id" not in logged(logging_server)["Sample"]


def test_the_sdk_does_not_import_opentelemetry(logging_server: ServerProcess) -> None:
    program = (
        "import sys, ganserve\n"
        "with ganserve.Client(sys.argv[1], model='tiny') as client: client.sample(1)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, logging_server.address], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
