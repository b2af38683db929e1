"""Test retries: which calls, when, at which server, and the log."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

import ganserve
from ganserve import GanserveError, RequestCancelled, ServerOverloaded, ServerUnavailable
from ganserve._calls.channel import channel_options
from ganserve._calls.retries import Attempts, may_pass
from ganserve._calls.rotation import Endpoint, Rotation
from ganserve._calls.targets import Target
from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.api.grpc import server as real_server
from ganserve_server.requests.limits import Limits
from scripted_server import Script, Status, scripted_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Api

STARTING = Status(grpc.StatusCode.UNAVAILABLE, "the server is starting", metadata=(("x-request-id", "abc"),))


def full(retry_s: float | None = None) -> Status:
    details = ()
    if retry_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(retry_s * 1e9))
        details = (error_details_pb2.RetryInfo(retry_delay=delay),)
    return Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", details)


def one_sample(model: str = "m") -> gan_service_pb2.SampleResponse:
    tensor = tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_UINT8, shape=[1, 2, 2, 1], data=bytes(4))
    return gan_service_pb2.SampleResponse(samples=tensor_pb2.Samples(tensor=tensor), model=model, version=1)


NOTHING = gan_service_pb2.ListModelsResponse()


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


def test_a_full_server_is_retried_after_the_time_that_it_gives(connect: Callable[..., Api], script: Script) -> None:
    api = connect(script.address)
    script.answers = [full(0.05), full(0.01), one_sample()]
    assert len(api.sample(1)) == 1
    assert len(script.requests) == 3
    assert {request.seed for request in script.requests} == {script.requests[0].seed}
    script.answers = [full(), one_sample()]
    with pytest.raises(ServerOverloaded, match="the queue is full"):
        api.sample(1)
    assert len(script.answers) == 1


def test_other_failures_are_final(connect: Callable[..., Api], script: Script) -> None:
    api = connect(script.address)
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED):
        script.answers = [Status(code, "no"), NOTHING]
        with pytest.raises(GanserveError):
            api.models()
        assert len(script.answers) == 1


def test_attempts_are_bounded(connect: Callable[..., Api], script: Script) -> None:
    api = connect(script.address, max_attempts=1)
    script.answers = [STARTING, NOTHING]
    with pytest.raises(ServerUnavailable):
        api.models()
    assert len(script.answers) == 1
    script.answers = [full(500), NOTHING]
    with pytest.raises(ServerOverloaded):  # the deadline would pass before a retry
        connect(script.address).models(timeout_s=60)
    assert len(script.answers) == 1


def test_all_attempts_have_the_same_id_and_are_logged(
    connect: Callable[..., Api], script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    api = connect(script.address)
    script.answers = [STARTING, STARTING, NOTHING]
    with caplog.at_level(logging.INFO, logger="ganserve"):
        api.models()
    assert len({metadata["x-request-id"] for metadata in script.metadata}) == 1
    messages = [record.getMessage() for record in caplog.records if record.name == "ganserve"]
    assert len(messages) == 2
    for message in messages:
        assert message.startswith(f"ListModels at {script.address}: the server is starting (request id abc); trying ag")
        assert message.endswith("s, request id abc")


def test_pauses_grow_randomly_and_are_at_least_as_long_as_requested() -> None:
    failure = ServerUnavailable("gone")
    pauses = [[], [], [], []]
    for _ in range(200):
        attempts = Attempts(1000.0, 5)
        for each in pauses:
            pause_s = attempts.pause_s(failure, elsewhere=False)
            assert pause_s is not None
            each.append(pause_s)
        assert attempts.pause_s(failure, elsewhere=False) is None
    for each, longest_s in zip(pauses, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert longest_s / 2 <= min(each) < max(each) <= longest_s
        assert len(set(each)) > 100
    asked = ServerOverloaded("full")
    asked.retry_after_s = 7.0
    pause_s = Attempts(1000.0, 5).pause_s(asked, elsewhere=False)
    assert pause_s is not None
    assert 7.05 <= pause_s <= 7.1
    assert Attempts(7.0, 5).pause_s(asked, elsewhere=False) is None
    assert Attempts(7.0, 5).pause_s(asked, elsewhere=True) == 0.0
    endless = Attempts(float("inf"), None)
    assert endless.left_s is None
    for _ in range(30):
        pause_s = endless.pause_s(failure, elsewhere=False)
    assert pause_s is not None
    assert 1 <= pause_s <= 2


def test_a_passed_deadline_becomes_a_valid_grpc_timeout() -> None:
    assert Attempts(1e-9, None).left_s == 1e-3


def test_which_errors_may_be_temporary() -> None:
    assert may_pass(ServerUnavailable("x"))
    assert may_pass(RequestCancelled("x"))
    assert not may_pass(ServerOverloaded("x"))
    assert not may_pass(ganserve.ServerError("x"))


def test_many_addresses_take_turns(connect: Callable[..., Api]) -> None:
    with scripted_server() as one, scripted_server() as other:
        for target in ([one.address, other.address], f"{one.address}, {other.address}"):
            api = connect(target)
            assert api.client.target == f"{one.address},{other.address}"
            for script in (one, other):
                script.answers, script.requests = [NOTHING] * 5, []
            for _ in range(10):
                api.models()
            assert (len(one.requests), len(other.requests)) == (5, 5)


def test_several_connections_take_turns_and_are_one_server(connect: Callable[..., Api], script: Script) -> None:
    api = connect(script.address, connections=3, timeout_s=90)
    script.answers = [NOTHING] * 9
    for _ in range(9):
        api.models()
    assert len(script.peers) == 3
    assert min(script.seconds_left) > 60, "the whole deadline, not a third of it"
    script.answers = [STARTING] * 3 + [NOTHING]
    api.models()


def test_another_server_replaces_a_failed_one_at_once(connect: Callable[..., Api], closed_port: str) -> None:
    with scripted_server() as well, scripted_server() as ill:
        api = connect([closed_port, ill.address, well.address], max_attempts=3)
        ill.answers = [full(60)] * 3
        well.answers = [one_sample("well")] * 6
        for _ in range(6):
            assert api.sample(1).model == "well"
        assert len(ill.requests) == 1  # it pauses for the minute that it requested


def test_if_all_servers_fail_the_last_error_is_raised(connect: Callable[..., Api], script: Script) -> None:
    api = connect([script.address, script.address], max_attempts=2)
    script.answers = [STARTING] * 9
    with pytest.raises(ServerUnavailable, match="the server is starting"):
        api.models()
    assert len(script.requests) == 2


def test_one_attempt_uses_one_server(connect: Callable[..., Api], script: Script) -> None:
    api = connect([script.address, script.address], max_attempts=1)
    script.answers = [STARTING, NOTHING]
    with pytest.raises(ServerUnavailable, match="the server is starting"):
        api.models()
    assert len(script.requests) == 1


def test_by_default_each_server_is_tried(connect: Callable[..., Api], closed_port: str) -> None:
    with scripted_server() as well:
        well.answers = [NOTHING]
        assert connect([closed_port] * 8 + [well.address]).models() == []


def test_the_pause_of_an_endpoint_grows_and_ends_with_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    ends = [Endpoint(name, None, lambda: None) for name in ("a", "b")]
    rotation = Rotation(ends)
    assert [rotation.next().target for _ in range(4)] == ["a", "b", "a", "b"]
    assert rotation.failed(ends[0], None)
    assert {rotation.next().target for _ in range(4)} == {"b"}
    first_rest = ends[0].rests_until
    assert not rotation.failed(ends[1], 100.0)
    assert {rotation.next().target for _ in range(4)} == {"a"}  # both pause: take the one whose pause ends first
    rotation.failed(ends[0], None)
    assert ends[0].rests_until > first_rest
    rotation.answered(ends[0])
    rotation.answered(ends[1])
    assert {rotation.next().target for _ in range(4)} == {"a", "b"}


def test_keepalive_agrees_with_the_servers() -> None:
    client, server = (
        dict(channel_options(Target.of("gpu-box:50051"), "ipv4:10.0.0.1:50051")),
        dict(real_server._OPTIONS),
    )
    assert client["grpc.keepalive_time_ms"] > server["grpc.http2.min_ping_interval_without_data_ms"]
    assert server["grpc.keepalive_permit_without_calls"] == 1
    assert client["grpc.max_receive_message_length"] > Limits().max_response_bytes


@pytest.mark.parametrize("max_attempts", [0, 1001, 1.5, True, "3"])
def test_invalid_numbers_of_attempts(connect: Callable[..., Api], max_attempts: object) -> None:
    with pytest.raises(ganserve.InvalidRequest, match="max_attempts: is "):
        connect("localhost", max_attempts=max_attempts)


@pytest.mark.parametrize("paused", [False, True], ids=["in a call", "in a pause"])
def test_closing_ends_the_calls_of_other_threads(script: Script, paused: bool) -> None:
    asked, hold = threading.Event(), threading.Event()

    def answer(*_: object) -> Any:
        asked.set()
        return full(30) if paused else hold.wait(60)

    script.next = answer  # type: ignore[method-assign]
    client, errors = ganserve.Client(script.address), []

    def ask() -> None:
        try:
            client.models()
        except GanserveError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert asked.wait(60)
    client.close()
    thread.join(60)
    hold.set()
    assert [type(error) for error in errors] == [RequestCancelled]
