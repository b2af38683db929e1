"""Run the real gRPC server in the test's process and event loop, so that tests can inspect it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from ganserve.v1 import gan_service_pb2_grpc
from ganserve_server.api.grpc import drain as drain_module
from ganserve_server.api.grpc import server as server_module
from ganserve_server.api.grpc.server import GrpcServer
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.models.repository import Repository
from ganserve_server.queue.options import BatchConfig
from ganserve_server.requests.limits import Limits
from ganserve_server.service import GanService
from stubs import OPTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from ganserve_server.tracing.spans import CallTracer


@dataclass(frozen=True)
class InProcess:
    repository: Repository
    server: GrpcServer
    address: str
    channel: grpc.aio.Channel
    gan: gan_service_pb2_grpc.GanServiceAsyncStub


def wait_for_last_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a draining server wait until its calls have told why they end, however long a busy machine takes for it."""
    monkeypatch.setattr(drain_module, "_LAST_MESSAGE_S", 60.0)
    monkeypatch.setattr(server_module, "GRACE_S", 60.0)


@contextlib.asynccontextmanager
async def in_process_server(
    models: Path,
    *,
    limits: Limits | None = None,
    max_batch_size: int = 64,
    max_queued_samples: int = 65536,
    engine: EngineConfig | None = None,
    tracer: CallTracer | None = None,
) -> AsyncIterator[InProcess]:
    batch = BatchConfig(max_batch_size=max_batch_size, max_queued_samples=max_queued_samples, workers=1)
    repository = Repository(models, engine or EngineConfig(provider="CPUExecutionProvider", threads=1), batch)
    repository.load()
    server = GrpcServer(limits=limits, tracer=tracer)
    address = f"127.0.0.1:{server.bind('127.0.0.1:0')}"
    await server.start(GanService(repository, limits))
    try:
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            yield InProcess(repository, server, address, channel, gan_service_pb2_grpc.GanServiceStub(channel))
    finally:
        await server.drain(0)
        repository.close()
