"""Make every kind of call under the instrumentation of KIND, and print what came, as JSON.

    python instrumented_calls.py KIND MODELS HANGING

KIND is opentelemetry, sentry or ddtrace; MODELS the folder of `tiny_packages`; HANGING the address of a server that
answers no stream.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

spans: list[str] = []
"""Names of the spans so far."""


def instrument(kind: str) -> Callable[[], object]:
    """Wrap gRPC on both sides, and return a function that waits until all spans are in `spans`."""
    if kind == "opentelemetry":
        from opentelemetry import trace
        from opentelemetry.instrumentation import grpc as instrumentation
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        instrumentation.GrpcInstrumentorClient().instrument()
        instrumentation.GrpcAioInstrumentorClient().instrument()
        instrumentation.GrpcAioInstrumentorServer().instrument()
        return lambda: spans.extend(f"{span.kind.name} {span.name}" for span in exporter.get_finished_spans())
    if kind == "sentry":
        import sentry_sdk
        from sentry_sdk.integrations.grpc import GRPCIntegration
        from sentry_sdk.transport import Transport

        class Kept(Transport):
            def capture_envelope(self, envelope: Any) -> None:
                if (event := envelope.get_transaction_event()) is not None:
                    spans.append(f"SERVER {event['transaction']}")
                    spans.extend(f"CLIENT {span['description']}" for span in event["spans"])

        sentry_sdk.init(
            "http://key@127.0.0.1:9/1", traces_sample_rate=1.0, transport=Kept, integrations=[GRPCIntegration()]
        )
        transaction = sentry_sdk.start_transaction(name="calls")
        transaction.__enter__()
        return lambda: (transaction.__exit__(None, None, None), sentry_sdk.flush())
    os.environ |= {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0", "DD_REMOTE_CONFIGURATION_ENABLED": "0"}
    import ddtrace
    from ddtrace.trace import TraceFilter, tracer

    class Keep(TraceFilter):  # type: ignore[misc]
        def process_trace(self, trace: Any) -> None:
            spans.extend(f"{str(span.get_tag('span.kind')).upper()} {span.resource}" for span in trace)

    tracer.configure(trace_processors=[Keep()])
    ddtrace.patch(grpc=True)
    return tracer.flush


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def blocking(models: str, hanging: str) -> dict[str, Any]:
    """Make the calls of `Client`."""
    from ganserve import Client, GanserveError

    result: dict[str, Any] = {}

    def note(name: str, call: Callable[[], Any]) -> None:
        try:
            result[name] = call()
        except GanserveError as error:
            result[name] = said(error)

    with Client.local(models, model="tiny") as client:
        batch = client.sample(2, "one", seed=1)
        note("sample", lambda: len(batch))
        note("stream", lambda: [len(each) for each in client.stream(9, chunk_size=2)])
        note("left", lambda: len(next(client.stream(10**5, chunk_size=2))))
        note("score", lambda: len(client.score(batch)))
        note("score_stream", lambda: [len(each) for each in client.score_stream([batch] * 20)])
        note("refused", lambda: client.sample(1, "nine"))
        note("refused stream", lambda: list(client.stream(1, "nine")))
    with Client(hanging, timeout_s=1) as client:
        note("slow stream", lambda: list(client.stream(1)))
    return result


async def for_asyncio(models: str, hanging: str) -> dict[str, Any]:
    """Make the calls of `AsyncClient`."""
    from ganserve import AsyncClient, GanserveError

    result: dict[str, Any] = {}

    async def note(name: str, call: Any) -> None:
        try:
            result[name] = await call
        except GanserveError as error:
            result[name] = said(error)

    async def lengths(stream: Any) -> list[int]:
        return [len(each) async for each in stream]

    async def length(call: Any) -> int:
        return len(await call)

    async with AsyncClient.local(models, model="tiny") as client:
        batch = await client.sample(2, "one", seed=1)
        await note("sample", length(client.sample(2, "one")))
        await note("stream", lengths(client.stream(9, chunk_size=2)))
        await note("left", length(anext(client.stream(10**5, chunk_size=2))))
        await note("score", length(client.score(batch)))
        await note("score_stream", lengths(client.score_stream([batch] * 20)))
        await note("refused", client.sample(1, "nine"))
        await note("refused stream", lengths(client.stream(1, "nine")))
    async with AsyncClient(hanging, timeout_s=1) as client:
        await note("slow stream", lengths(client.stream(1)))
    return result


if __name__ == "__main__":
    kind, models, hanging = sys.argv[1:]
    collect = instrument(kind)
    answers = {"Client": blocking(models, hanging), "AsyncClient": asyncio.run(for_asyncio(models, hanging))}
    collect()
    print(json.dumps({"answers": answers, "spans": spans}))
