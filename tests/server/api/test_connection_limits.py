"""Test the bounds on connections, on the calls of one connection, and on those of one caller."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status.rpc_status import from_call

from ganserve.v1 import gan_service_pb2
from ganserve_server.queue import callers as callers_module
from ganserve_server.requests.limits import Limits
from ganserve_server.settings import ServerConfig
from half_requests import begin_connection, half_request, refused_streams
from in_process import InProcess, in_process_server, wait_for_last_messages
from stubs import WithTrailers
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SAMPLE = "/ganserve.v1.GanService/Sample"
ONE = gan_service_pb2.SampleRequest(count=1)


def run(folder: Path, scenario: Callable[[InProcess], Awaitable[None]], **limits: Any) -> None:
    build_tiny_package(folder, "tiny", model=TinyModel(label_names=()))

    async def main() -> None:
        async with in_process_server(folder, limits=Limits(**limits)) as server:
            await asyncio.wait_for(scenario(server), 300)

    asyncio.run(main())


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    begin_connection(connection)
    return connection


def test_connections_beyond_the_limit_are_closed_until_others_end(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        await server.gan.Sample(ONE, timeout=60)  # one connection
        with contextlib.ExitStack() as stack:
            second, third = (stack.enter_context(connected(server.address)) for _ in range(2))
            assert await asyncio.to_thread(second.recv, 1)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(third.recv, 1) == b""
            await server.gan.Sample(ONE, timeout=60)
            second.close()
            while True:  # the server notices the end of a connection after a while
                with connected(server.address) as fourth, contextlib.suppress(ConnectionResetError):
                    if await asyncio.to_thread(fourth.recv, 1):
                        break

    run(tmp_path, scenario, max_connections=2)


def test_streams_that_ignore_the_limit_of_a_connection_are_refused(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        with connected(server.address) as connection:
            for index in range(6):
                connection.sendall(half_request(SAMPLE, declared=1000, sent=10, stream=2 * index + 1))
            assert await asyncio.to_thread(refused_streams, connection, 2) == {9, 11}
            await server.gan.Sample(ONE, timeout=60)  # another connection

    run(tmp_path, scenario, max_connection_calls=4)


def test_further_calls_of_a_connection_wait_at_the_client(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        answers = await asyncio.gather(*(server.gan.Sample(ONE, timeout=30) for _ in range(40)))
        assert len(answers) == 40

    run(tmp_path, scenario, max_connection_calls=4)


def test_calls_of_a_caller_beyond_its_limit_are_refused_with_the_time_to_wait(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                connection = stack.enter_context(connected(server.address))
                connection.sendall(half_request(SAMPLE, declared=1000, sent=10, stream=1))
            while sum(caller.calls for caller in server.server.gate.callers._callers.values()) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.gan.Sample(ONE, timeout=60)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 calls of 127.0.0.1 run already, the most for one caller" in caught.value.details()
        retry = error_details_pb2.RetryInfo()
        assert from_call(WithTrailers(caught.value)).details[0].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == 500

    run(tmp_path, scenario, max_caller_calls=3)


def test_calls_that_have_arrived_when_the_server_stops_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # gRPC's threads, which let calls in, may get no core for longer than the usual pause.
    monkeypatch.setattr(callers_module, "_HOLD_QUIET_S", 0.5)
    monkeypatch.setattr(callers_module, "_MOST_HOLD_S", 60.0)
    wait_for_last_messages(monkeypatch)

    async def scenario(server: InProcess) -> None:
        async def call_until_refused() -> grpc.StatusCode:
            try:
                while True:
                    await server.gan.Sample(ONE, timeout=50)
            except grpc.aio.AioRpcError as error:
                return error.code()

        calls = [asyncio.ensure_future(call_until_refused()) for _ in range(60)]
        while not any(counts.codes["OK"] for counts in server.server.calls.methods.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await server.server.drain(240)
        assert set(await asyncio.gather(*calls)) == {grpc.StatusCode.UNAVAILABLE}

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("settings", "connections"),
    [({"memory_limit_mib": 512}, 2048), ({"memory_limit_mib": 2**20}, 10_000), ({"max_connections": 7}, 7)],
)
def test_the_number_of_connections_follows_the_memory(settings: dict[str, int], connections: int) -> None:
    assert Limits.of(ServerConfig(**settings)).max_connections == connections
