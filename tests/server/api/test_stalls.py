"""Test that clients which send or read nothing are cut off, and what they hold is free again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode
from grpc_status.rpc_status import from_call

from ganserve.v1 import gan_service_pb2
from ganserve_server.api.grpc import stalls as stalls_module
from ganserve_server.requests.limits import Limits
from half_requests import half_requests
from in_process import InProcess, in_process_server
from stubs import WithTrailers
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SAMPLE = "/ganserve.v1.GanService/Sample"
STREAMS = (
    "/ganserve.v1.GanService/StreamScores",
    "/inference.GRPCInferenceService/ModelStreamInfer",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
LARGE = gan_service_pb2.SampleRequest(count=150, seed=1)  # 28 MB: more than a client buffers


def run(folder: Path, scenario: Callable[[InProcess], Awaitable[None]], **limits: Any) -> None:
    build_tiny_package(folder, "large", model=TinyModel(shape=(256, 256, 3), label_names=()))

    async def main() -> None:
        async with in_process_server(folder, limits=Limits(**limits)) as server:
            await asyncio.wait_for(scenario(server), 300)

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.02)


def nothing_held(server: InProcess) -> bool:
    gate = server.server.gate
    return not gate.budget.held_bytes and not any(caller.calls for caller in gate.callers._callers.values())


@pytest.mark.parametrize("path", [SAMPLE, "/ganserve.v1.GanService/StreamSamples", "/grpc.health.v1.Health/Check"])
def test_a_request_that_does_not_arrive_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async def scenario(server: InProcess) -> None:
        gate = server.server.gate
        with half_requests(server.address, path, count=3, declared=2**20, sent=1000):
            await until(lambda: gate.stalls.cut_off == 3)
            await until(lambda: nothing_held(server))
            gate.stalls._timeout_s = 60.0  # a busy machine may take longer to send this one
            await server.gan.Sample(gan_service_pb2.SampleRequest(count=1), timeout=60)

    with caplog.at_level(logging.WARNING):
        run(tmp_path, scenario, stall_timeout_s=0.5)
    assert f"{path}: its request did not arrive within 0.5 s" in caplog.text


def test_half_requests_of_one_caller_leave_room_for_others(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        stalls = server.server.gate.stalls
        slots, share = stalls._slots, stalls._share
        with half_requests(server.address, SAMPLE, count=slots, declared=2**20, sent=1000):
            await until(lambda: len(stalls._waiting) == slots - share)
            assert stalls._slots == slots - share

    run(tmp_path, scenario, stall_timeout_s=300, memory_limit_bytes=1)


def test_large_requests_of_one_caller_arrive_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop copies all that have arrived before it does anything else."""
    monkeypatch.setattr(stalls_module, "_LOOK_EVERY_S", 1000.0)

    async def scenario(server: InProcess) -> None:
        stalls = server.server.gate.stalls
        large = gan_service_pb2.SampleRequest(count=1)
        large.latents.data = bytes(2**21)
        with half_requests(server.address, SAMPLE, count=3, declared=2**20, sent=1000):
            await until(lambda: len(stalls._reading) == 3)
        await until(lambda: nothing_held(server))
        with pytest.raises(grpc.aio.AioRpcError):
            await server.gan.Sample(large, timeout=60)
        with half_requests(server.address, SAMPLE, count=3, declared=2**20, sent=1000):
            await until(lambda: (len(stalls._reading), len(stalls._waiting)) == (1, 2))
            monkeypatch.setattr(stalls_module, "_LOOK_EVERY_S", 0.0)
            stalls._look()  # the first takes a while by now
            await until(lambda: not stalls._waiting)
            assert len(stalls._reading) == 3
        await until(lambda: nothing_held(server))
        monkeypatch.setattr(stalls_module, "_LOOK_EVERY_S", 1000.0)
        async with contextlib.AsyncExitStack() as streams:
            for path in STREAMS:
                call = server.channel.stream_stream(path)()
                streams.callback(call.cancel)
                await call.wait_for_connection()  # it begins, and sends nothing
            await until(lambda: (len(stalls._streaming), len(stalls._waiting)) == (1, len(STREAMS) - 1))
            monkeypatch.setattr(stalls_module, "_LOOK_EVERY_S", 0.0)
            stalls._look()
            await until(lambda: not stalls._waiting)
            assert len(stalls._streaming) == len(STREAMS)
        await until(lambda: nothing_held(server) and not stalls._streaming)
        (caller,) = server.server.gate.callers._callers.values()
        assert (caller.reading, caller.streaming, caller.slow) == (0, 0, 0)

    run(tmp_path, scenario, stall_timeout_s=300)


@pytest.mark.skipif(sys.platform != "linux", reason="connections are closed on Linux only")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_does_not_read_its_answer_is_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, streamed: bool
) -> None:
    async def scenario(server: InProcess) -> None:
        gate = server.server.gate
        async with grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as other:
            if streamed:
                request = gan_service_pb2.StreamSamplesRequest(request=LARGE)
                path = "/ganserve.v1.GanService/StreamSamples"
            else:
                request, path = LARGE, SAMPLE
            call = other.unary_stream(path)(request.SerializeToString())
            await until(lambda: bool(gate.stalls.unread))
            gate.stalls._timeout_s = 0.5  # from here on: a busy machine may take longer to send the request
            await until(lambda: gate.stalls.cut_off == 1)
            await until(lambda: nothing_held(server))
            call.cancel()

    with caplog.at_level(logging.WARNING):
        run(tmp_path, scenario, stall_timeout_s=60)
    assert "did not read its answer for 0.5 s; its connection is closed" in caplog.text


def test_beyond_the_budget_calls_are_refused_with_the_time_to_wait(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        budget = server.server.gate.budget
        budget.size = 2**20
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.gan.Sample(LARGE, timeout=60)
        assert caught.value.code() == StatusCode.RESOURCE_EXHAUSTED
        assert "the server has no memory for this request now: it needs" in caught.value.details()
        retry = error_details_pb2.RetryInfo()
        assert from_call(WithTrailers(caught.value)).details[0].Unpack(retry)
        assert retry.retry_delay.seconds == 1
        assert budget.refused == 1
        answer = await server.gan.Sample(gan_service_pb2.SampleRequest(count=1), timeout=60)
        assert answer.samples.tensor.shape[0] == 1
        await until(lambda: nothing_held(server))

    run(tmp_path, scenario)
