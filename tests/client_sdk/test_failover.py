"""Test clients of several servers and of names whose addresses change: no call fails within its deadline."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from ganserve import DeadlineExceeded, SampleBatch
from ganserve._calls import servers as servers_module
from ganserve._calls.retries import Attempts
from ganserve._calls.rotation import Endpoint, Rotation
from ganserve._calls.targets import Target
from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc
from ports import free_port
from server_process import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Api

    from server_process import ServerProcess

HOST = "gan.test"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def three(repository: Path) -> Iterator[list[ServerProcess]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running_server(repository)) for _ in range(3)]


@contextlib.contextmanager
def suspended(server: ServerProcess) -> Iterator[None]:
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_a_hung_server_costs_one_slow_call(connect: Callable[..., Api], three: list[ServerProcess]) -> None:
    api = connect([each.address for each in three], timeout_s=9)
    rotation = lambda: api.client._transport._servers.rotation  # noqa: E731
    for _ in range(6):
        api.sample(1, model="tiny")  # all are connected
    hung = next(each for each in rotation().endpoints if each.target == three[0].address)
    with suspended(three[0]):
        for _ in range(30):
            assert len(api.sample(1, model="tiny")) == 1
        assert hung.failures
        slow = hung.failures
        # Its probes fail while it hangs: it never gets another call.
        wait_until(lambda: bool(api.models()) and hung.failures > slow)
    wait_until(lambda: bool(api.models()) and hung.available)


@pytest.mark.slow
def test_a_stream_leaves_a_hung_server(connect: Callable[..., Api], three: list[ServerProcess]) -> None:
    count = 400_000  # more than gRPC's buffers hold
    expected = connect(three[1].address).sample(count, model="tiny", seed=3)
    api = connect([each.address for each in three], timeout_s=9)
    stream = api.stream(count, model="tiny", seed=3, chunk_size=4000)
    batches = [api.next(stream)]
    begun = stream._endpoint.target
    with suspended(next(each for each in three if each.address == begun)):
        while sum(map(len, batches)) < count:
            batches.append(api.next(stream))
    assert stream._endpoint.target != begun
    np.testing.assert_array_equal(SampleBatch.concatenate(batches).samples, expected.samples)


class Answering(gan_service_pb2_grpc.GanServiceServicer):
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        return gan_service_pb2.ListModelsResponse()


@contextlib.contextmanager
def answering(host: str, port: int) -> Iterator[Answering]:
    """Run a server without a health service at an address of this machine."""
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    servicer = Answering()
    gan_service_pb2_grpc.add_GanServiceServicer_to_server(servicer, server)
    assert server.add_insecure_port(f"{host}:{port}")
    server.start()
    try:
        yield servicer
    finally:
        server.stop(None).wait()


@pytest.fixture
def port() -> int:
    return free_port("0.0.0.0")


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the name server answer with these addresses for HOST, and with an error if there are none."""
    addresses: list[str] = []
    ask = socket.getaddrinfo

    def answer(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host != HOST:
            return ask(host, port, *rest, **options)
        if not addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return addresses


def test_the_address_of_a_name_moves(
    connect: Callable[..., Api], name: list[str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Elsewhere the last look was long ago; within a second of one, all attempts may fail before the next.
    monkeypatch.setattr(servers_module, "LOOK_AFTER_FAILURE_S", 0.0)
    api = connect(f"{HOST}:{port}")
    name[:] = ["127.0.0.2"]
    with answering("127.0.0.2", port) as old:
        for _ in range(3):
            api.models()
        assert old.calls == 3
    name[:] = ["127.0.0.3"]
    with answering("127.0.0.3", port) as new:
        for _ in range(3):
            api.models()
        assert new.calls == 3


def test_a_second_address_is_found(
    connect: Callable[..., Api], name: list[str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers_module, "LOOK_EVERY_S", 0.2)
    api = connect(f"{HOST}:{port}")
    name[:] = ["127.0.0.2"]
    with answering("127.0.0.2", port) as first, answering("127.0.0.3", port) as second:
        api.models()
        name.append("127.0.0.3")
        wait_until(lambda: api.models() == [] and second.calls > 0)
        monkeypatch.setattr(servers_module, "LOOK_EVERY_S", 3600.0)
        wait_until(lambda: api.models() == [] and api.client._transport._servers._next_look > time.monotonic() + 60)
        first.calls = second.calls = 0
        for _ in range(10):
            api.models()
        assert (first.calls, second.calls) == (5, 5)
        name.remove("127.0.0.2")
        api.client._transport._servers._next_look = 0.0
        wait_until(lambda: api.models() == [] and len(api.client._transport._servers.rotation.endpoints) == 1)


def test_a_server_is_replaced_at_its_address(connect: Callable[..., Api], name: list[str], port: int) -> None:
    name[:] = ["127.0.0.2"]
    api = connect(f"{HOST}:{port}")
    for _ in range(3):
        with answering("127.0.0.2", port) as server:
            api.models()
            assert server.calls == 1


def test_one_of_two_addresses_ends(connect: Callable[..., Api], name: list[str], port: int) -> None:
    name[:] = ["127.0.0.2", "127.0.0.3"]
    api = connect(f"{HOST}:{port}", max_attempts=1)
    with answering("127.0.0.2", port) as first:
        for _ in range(6):
            api.models()  # one attempt is enough: nothing was sent to the other
        assert first.calls == 6


def test_without_a_name_server_the_known_addresses_stay(
    connect: Callable[..., Api], name: list[str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers_module, "LOOK_EVERY_S", 0.0)
    name[:] = ["127.0.0.2"]
    api = connect(f"{HOST}:{port}")
    with answering("127.0.0.2", port) as server:
        api.models()
        name.clear()
        for _ in range(5):
            api.models()
        assert server.calls == 6


def test_a_name_server_that_does_not_answer_ends_with_the_deadline(
    connect: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = threading.Event()
    monkeypatch.setattr(Target, "look_up", lambda _: hold.wait(60) and ())
    with pytest.raises(DeadlineExceeded, match=r"name of gan\.test:7 was not found in time"):
        connect("gan.test:7").models(timeout_s=0.2)
    hold.set()


def test_an_attempt_gets_a_share_of_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    attempts = Attempts(60.0, 5)
    assert attempts.share_s(3) == pytest.approx(20.0)
    for servers in (0, 1):
        assert attempts.share_s(servers) == pytest.approx(60.0)
    assert Attempts(60.0, 1).share_s(3) == pytest.approx(60.0)
    assert Attempts(60.0, 2).share_s(9) == pytest.approx(30.0)
    assert Attempts(float("inf"), None).share_s(3) is None


def endpoint(target: str, address: str) -> Endpoint:
    return Endpoint(target, None, lambda: None, address=address)


def test_addresses_of_two_families_may_be_one_server() -> None:
    one = [endpoint("a:1", "ipv4:10.0.0.1:1"), endpoint("a:1", "ipv6:[::2]:1")]
    assert Rotation(one).available == 1
    assert Rotation([*one, endpoint("a:1", "ipv4:10.0.0.2:1"), endpoint("b:1", "ipv6:[::3]:1")]).available == 3


def test_an_endpoint_returns_after_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    ill, well = endpoint("a:1", "a"), endpoint("b:1", "b")
    rotation = Rotation([ill, well])
    rests = []
    for _ in range(7):
        assert rotation.failed(ill, None)
        rests.append(ill.rests_until - time.monotonic())
        assert rotation.due() == []
        ill.rests_until = 0.0
        assert {rotation.next() for _ in range(4)} == {well}
        assert rotation.due() == [ill]
        assert rotation.due() == []  # one probe at a time
        ill.probing = False
    assert [round(rest) for rest in rests] == [1, 2, 4, 8, 16, 30, 30]
    assert rotation.due() == [ill]
    rotation.probed(ill, well=False)
    assert (ill.available, ill.probing) == (False, False)
    rotation.probed(ill, well=True)
    assert {rotation.next() for _ in range(4)} == {ill, well}
