"""Make every kind of call under the instrumentation of KIND, and print what came, as JSON.

    python instrumented_calls.py KIND MODELS SERVER HANGING

KIND is opentelemetry, sentry or ddtrace, or automatic-… where a program around this one has instrumented it; MODELS the
folder of `tiny_packages`; SERVER the address of a server of it; HANGING that of a server that answers no stream.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

spans: list[str] = []
"""Names of the spans so far."""


def instrument(kind: str) -> Callable[[], object]:
    """Wrap gRPC on both sides, and return a function that waits until all spans are in `spans`."""
    automatic = kind.startswith("automatic-")
    if kind.endswith("opentelemetry"):
        from opentelemetry import trace
        from opentelemetry.instrumentation import grpc as instrumentation
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        for each in ("GrpcInstrumentorClient", "GrpcAioInstrumentorClient", "GrpcAioInstrumentorServer"):
            instrumentor = getattr(instrumentation, each)()
            assert instrumentor.is_instrumented_by_opentelemetry is automatic
            if not automatic:
                instrumentor.instrument()
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
    if not automatic:
        ddtrace.patch(grpc=True)
    return tracer.flush


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class PassesOn(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
    """The application's own interceptor."""

    def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
        return proceed(details, request)

    intercept_unary_stream = intercept_stream_stream = intercept_unary_unary


class PassesOnUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
        return await proceed(details, request)


class PassesOnUnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, proceed: Any, details: Any, request: Any) -> Any:
        return await proceed(details, request)


class PassesOnStreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, proceed: Any, details: Any, requests: Any) -> Any:
        return await proceed(details, requests)


PASS_ON = (PassesOnUnary(), PassesOnUnaryStream(), PassesOnStreamStream())


def blocking(models: str, server: str, hanging: str) -> dict[str, Any]:
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
    with Client(server, model="tiny", interceptors=[PassesOn(), PassesOn()]) as client:
        note("intercepted", lambda: [len(each) for each in client.score_stream([client.sample(2, seed=1)] * 20)])
        note("intercepted stream", lambda: [len(each) for each in client.stream(9, chunk_size=2)])
    with Client(hanging, timeout_s=1) as client:
        note("slow stream", lambda: list(client.stream(1)))
    return result


async def for_asyncio(models: str, server: str, hanging: str) -> dict[str, Any]:
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
    async with AsyncClient(server, model="tiny", interceptors=[*PASS_ON, *PASS_ON]) as client:
        await note("intercepted", lengths(client.score_stream([await client.sample(2, seed=1)] * 20)))
        await note("intercepted stream", lengths(client.stream(9, chunk_size=2)))
    async with AsyncClient(hanging, timeout_s=1) as client:
        await note("slow stream", lengths(client.stream(1)))
    return result


if __name__ == "__main__":
    kind, *places = sys.argv[1:]
    collect = instrument(kind)
    answers = {"Client": blocking(*places), "AsyncClient": asyncio.run(for_asyncio(*places))}
    collect()
    print(json.dumps({"answers": answers, "spans": spans}))
