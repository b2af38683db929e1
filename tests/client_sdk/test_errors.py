"""Test the error class of each status, from the real server or from a scripted one."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import traceback
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

import ganserve
from ganserve import AsyncClient, GanserveError
from ganserve.v1 import gan_service_pb2, tensor_pb2
from scripted_server import Status, scripted_server
from server_process import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Api

    from scripted_server import Script
    from server_process import ServerProcess


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


def test_invalid_argument(api: Api) -> None:
    with pytest.raises(ganserve.InvalidRequest) as caught:
        api.sample(2, "nine", model="tiny", offset=0, latents=np.zeros((2, 9)))
    error = caught.value
    assert [violation.field for violation in error.violations] == ["latents", "label"]
    assert "is [2, 9]; expected [N, 4]" in error.violations[0].description
    assert "'zero', 'one', 'two'" in error.violations[1].description
    for violation in error.violations:
        assert f"{violation.field}: {violation.description}" in str(error)
    assert error.code == "INVALID_ARGUMENT"
    assert "label_names: is 'nine'" in error.details
    assert isinstance(error, GanserveError)


def test_a_traceback_shows_no_frame_of_grpc(api: Api, connect: Callable[..., Api], closed_port: str) -> None:
    refused = connect(closed_port, max_attempts=1)
    for ask in (
        lambda: api.sample(2, "nine", model="tiny"),
        lambda: api.batches(2, "nine", model="tiny"),
        lambda: api.scored([np.zeros((8, 8), np.uint8)], 9, model="tiny"),
        refused.models,
        lambda: refused.batches(1),
    ):
        with pytest.raises(GanserveError) as caught:
            ask()
        lines = traceback.format_exception(caught.value)
        assert len([line for line in lines if line.startswith("Traceback")]) == 1
        assert not any("grpc/" in line or "grpc._" in line for line in lines)
        inside = [
            frame.name for frame in traceback.extract_tb(caught.value.__traceback__) if "_calls" in frame.filename
        ]
        assert len(inside) <= 1, inside  # what the user called, and at most one line below it
        assert "\n" not in str(caught.value)


def test_errors_of_a_stream_name_the_arguments(api: Api) -> None:
    with pytest.raises(ganserve.InvalidRequest) as caught:
        api.batches(2, 9, model="tiny")
    assert [violation.field for violation in caught.value.violations] == ["label"]


def test_not_found(api: Api) -> None:
    for ask in (
        lambda: api.sample(1, model="nope"),
        lambda: api.batches(1, model="nope"),
        lambda: api.score(np.zeros((8, 8), np.uint8), 1, model="nope"),
        lambda: api.model("nope"),
    ):
        with pytest.raises(ganserve.ModelNotFound, match=r"no model 'nope'.*tiny-rgb") as caught:
            ask()
        assert caught.value.code == "NOT_FOUND"
    with pytest.raises(ganserve.ModelNotFound):
        api.model("tiny", 77)


def test_failed_precondition(api: Api) -> None:
    with pytest.raises(ganserve.UnsupportedByModel, match="takes no labels"):
        api.sample(1, 0, model="tiny-unconditional")
    with pytest.raises(ganserve.UnsupportedByModel, match="truncation"):
        api.sample(1, model="tiny-vector", truncation=1.0)


def test_unimplemented(connect: Callable[..., Api], script: Script) -> None:
    script.answers = [Status(grpc.StatusCode.UNIMPLEMENTED, "this server sends no JPEG")]
    api = connect(script.address)
    with pytest.raises(ganserve.UnsupportedByServer, match="JPEG") as caught:
        api.models()
    assert caught.value.code == "UNIMPLEMENTED"
    assert api.client.target in str(caught.value)


def test_a_too_large_answer_is_refused_with_the_fix(api: Api) -> None:
    with pytest.raises(ganserve.InvalidRequest, match=r"n: is 10000000.*ask for at most"):
        api.sample(10_000_000, model="tiny")


def test_a_too_large_request_is_refused_before_it_is_sent(api: Api) -> None:
    images = np.zeros((20 * 2**20 // 64, 8, 8), np.uint8)
    with pytest.raises(
        ganserve.MessageTooLarge,
        match=r"images: 327680 samples take 20\.0 MiB in one request, more than the 16 MiB .* takes: use score_stream",
    ) as caught:
        api.score(images, 1, model="tiny")
    assert caught.value.code is None


def test_a_server_s_own_limit_counts(connect: Callable[..., Api], script: Script) -> None:
    told = gan_service_pb2.ListModelsResponse(limits=gan_service_pb2.MessageLimits(max_request_bytes=2**20))
    script.answers = [told, told]
    api = connect(script.address)
    api.models()
    with pytest.raises(ganserve.MessageTooLarge, match=r"take 2\.0 MiB in one request, more than the 1 MiB"):
        api.score(np.zeros((2**21 // 64, 8, 8), np.uint8), 1, model="tiny")
    assert not script.answers


def test_unavailable(connect: Callable[..., Api], closed_port: str) -> None:
    api = connect(closed_port)
    with pytest.raises(ganserve.ServerUnavailable) as caught:
        api.sample(1)
    assert str(caught.value).startswith(f"no server answers at {closed_port} (Connection refused): start one with")
    assert "ganserve serve" in str(caught.value)
    assert caught.value.code == "UNAVAILABLE"
    assert caught.value.request_id


def test_a_broken_connection(connect: Callable[..., Api], repository: Path) -> None:
    with running_server(repository) as server:
        api = connect(server.address)
        stream = api.stream(10**9, model="tiny", seed=3)
        batches = [api.next(stream)]
        server.process.kill()
        stream._call.timeout_s = 5.0  # after the first batch: the stream tries again until then
        with pytest.raises(ganserve.ServerUnavailable, match=f"at {server.address}") as caught:
            _drain(api, stream, batches)  # batches in flight still arrive
    had = sum(map(len, batches))
    message = f"; {had} of 1000000000 samples came; the others are seed=3, offset={had}, model='tiny', version=2"
    assert message in str(caught.value)


def _drain(api: Api, stream: Any, batches: list[Any]) -> None:
    while True:
        batches.append(api.next(stream))


def test_an_unknown_host_name(connect: Callable[..., Api]) -> None:
    with pytest.raises(ganserve.ServerUnavailable, match=r"no server answers at no-such-host\.invalid:50051 \("):
        connect("no-such-host.invalid", timeout_s=60).models()


def test_deadline_exceeded(connect: Callable[..., Api], own_server: ServerProcess) -> None:
    api = connect(own_server.address, timeout_s=30)
    api.models()
    os.kill(own_server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ganserve.DeadlineExceeded) as caught:
            api.sample(1, model="tiny", timeout_s=0.3)
    finally:
        os.kill(own_server.process.pid, signal.SIGCONT)
    assert str(caught.value).startswith(f"{own_server.address} did not answer within 0.3 s: raise timeout_s")
    assert api.sample(1, model="tiny").model == "tiny"


def test_the_clients_own_deadline(connect: Callable[..., Api], script: Script) -> None:
    hold = threading.Event()
    script.next = lambda request, context: hold.wait(60)  # type: ignore[method-assign,assignment]
    api = connect(script.address, timeout_s=0.2)
    try:
        with pytest.raises(ganserve.DeadlineExceeded, match=r"did not answer within 0\.2 s"):
            api.models()
    finally:
        hold.set()


CODES = [
    (grpc.StatusCode.INVALID_ARGUMENT, ganserve.InvalidRequest),
    (grpc.StatusCode.OUT_OF_RANGE, ganserve.InvalidRequest),
    (grpc.StatusCode.NOT_FOUND, ganserve.ModelNotFound),
    (grpc.StatusCode.FAILED_PRECONDITION, ganserve.UnsupportedByModel),
    (grpc.StatusCode.UNIMPLEMENTED, ganserve.UnsupportedByServer),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, ganserve.ServerOverloaded),
    (grpc.StatusCode.DEADLINE_EXCEEDED, ganserve.DeadlineExceeded),
    (grpc.StatusCode.UNAUTHENTICATED, ganserve.AccessDenied),
    (grpc.StatusCode.PERMISSION_DENIED, ganserve.AccessDenied),
    (grpc.StatusCode.INTERNAL, ganserve.ServerError),
    (grpc.StatusCode.UNKNOWN, ganserve.ServerError),
    (grpc.StatusCode.DATA_LOSS, ganserve.ServerError),
]


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_every_status_has_its_class(
    connect: Callable[..., Api], script: Script, code: grpc.StatusCode, kind: type[GanserveError]
) -> None:
    api = connect(script.address)
    status = Status(code, "what was wrong", metadata=(("x-request-id", "abc123"),))
    script.answers = [status, [status]]
    for ask in (api.models, lambda: api.batches(1)):
        with pytest.raises(kind, match="what was wrong") as caught:
            ask()
        error = caught.value
        assert type(error) is kind
        assert (error.code, error.details, error.request_id) == (code.name, "what was wrong", "abc123")
        assert error.violations == ()


def test_a_connection_that_breaks_while_sending_is_an_unavailable_server(
    connect: Callable[..., Api], script: Script
) -> None:
    """grpc.aio calls this INTERNAL; the call is repeated as for any broken connection."""
    script.answers = [Status(grpc.StatusCode.INTERNAL, "Internal error from Core"), Status(grpc.StatusCode.NOT_FOUND)]
    with pytest.raises(ganserve.ModelNotFound):
        connect(script.address).models()
    assert len(script.metadata) == 2


def test_an_overloaded_server_says_when_to_retry(connect: Callable[..., Api], script: Script) -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=500_000_000))
    script.answers = [Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", (retry,))]
    api = connect(script.address, max_attempts=1)
    with pytest.raises(ganserve.ServerOverloaded, match=r"the queue is full: try again in 2\.5 s") as caught:
        api.models()
    assert caught.value.retry_after_s == 2.5
    script.answers = [Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")]
    with pytest.raises(ganserve.ServerOverloaded) as caught:
        api.models()
    assert caught.value.retry_after_s is None


def test_the_sent_request_id_is_in_the_error(connect: Callable[..., Api], script: Script) -> None:
    api = connect(script.address)
    script.answers = [Status(grpc.StatusCode.INTERNAL)] * 2
    ids = []
    for _ in range(2):
        with pytest.raises(ganserve.ServerError, match=r"INTERNAL.*it gave no reason") as caught:
            api.models()
        ids.append(caught.value.request_id)
    assert ids == [metadata["x-request-id"] for metadata in script.metadata]
    assert len(set(ids)) == 2
    info = error_details_pb2.RequestInfo(request_id="the server's own")
    script.answers = [Status(grpc.StatusCode.INTERNAL, "broken", (info,))]
    with pytest.raises(ganserve.ServerError) as caught:
        api.models()
    assert caught.value.request_id == "the server's own"


def test_details_that_contradict_the_status_are_left_out(connect: Callable[..., Api], script: Script) -> None:
    status = Status(
        grpc.StatusCode.INTERNAL,
        "as a proxy said",
        metadata=(("grpc-status-details-bin", b"\x08\x03"),),  # type: ignore[arg-type]
    )
    script.answers = [status]
    with pytest.raises(ganserve.ServerError, match="as a proxy said"):
        connect(script.address).models()


def test_unavailable_is_retried_with_the_same_request(connect: Callable[..., Api], script: Script) -> None:
    refused = Status(grpc.StatusCode.UNAVAILABLE, "starting", metadata=(("x-request-id", "abc"),))
    api = connect(script.address)
    script.answers = [refused, refused, answer(count=2)]
    batch = api.sample(2)
    assert len(script.requests) == 3
    assert script.requests[0] == script.requests[1] == script.requests[2]
    assert script.requests[0].HasField("seed")
    assert batch.seed == 5  # the answer's seed; the client drew the request's
    script.answers = [[refused], [gan_service_pb2.StreamSamplesResponse(chunk=answer(count=2))]]
    assert len(api.batches(2)) == 1
    script.answers = [refused] * 9
    with pytest.raises(ganserve.ServerUnavailable, match=r"^starting \(request id abc\)$"):
        api.models()
    assert len(script.answers) == 4  # five attempts


def answer(count: int = 1, offset: int = 0, **changes: Any) -> gan_service_pb2.SampleResponse:
    tensor = tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_UINT8, shape=[count, 2, 2, 1], data=bytes(count * 4))
    given: dict[str, Any] = {"samples": tensor_pb2.Samples(tensor=tensor), "seed": 5, "offset": offset}
    return gan_service_pb2.SampleResponse(**given | changes)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (answer(count=2), "sent 2 samples instead of 1"),
        (gan_service_pb2.SampleResponse(), "not a raw tensor"),
        (answer(samples=tensor_pb2.Samples(tensor=tensor_pb2.Tensor(data_type=99))), "data type 99"),  # type: ignore[arg-type]
        (answer(samples=tensor_pb2.Samples(tensor=tensor_pb2.Tensor(data_type=1, shape=[1], data=b"xy"))), "2 bytes"),  # type: ignore[arg-type]
        (answer(label_indices=[1, 2]), "2 label indices for 1 samples"),
        (answer(label_names=["a", "b"]), "2 label names for 1 samples"),
        (answer(scores=[1.0, 2.0]), "2 scores for 1 samples"),
    ],
)
def test_inconsistent_answers(connect: Callable[..., Api], script: Script, response: Any, message: str) -> None:
    script.answers = [response]
    with pytest.raises(ganserve.ServerError, match=message):
        connect(script.address).sample(1, return_scores="scores" in message)


def test_inconsistent_scores(connect: Callable[..., Api], script: Script) -> None:
    api = connect(script.address)
    script.answers = [
        gan_service_pb2.ScoreResponse(),
        gan_service_pb2.ScoreResponse(scores=[1.0, 2.0], probabilities=[1.0, 2.0]),
    ]
    with pytest.raises(ganserve.ServerError, match="no scores"):
        api.score(np.zeros((2, 2), np.uint8), 1)
    with pytest.raises(ganserve.ServerError, match="2 scores for 1 samples"):
        api.score(np.zeros((2, 2), np.uint8), 1)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([answer(2), answer(2, offset=3)], "sent 2 samples from 3 on; expected those from 2"),
        ([answer(2), answer(4, offset=2)], "sent 4 samples from 2 on; expected those from 2"),
        ([answer(0)], "sent 0 samples from 0 on; expected those from 0"),
        ([answer(2), answer(1, offset=2)], "ended after 3 of 5 samples"),
        ([], "ended after 0 of 5 samples"),
    ],
)
def test_inconsistent_streams(connect: Callable[..., Api], script: Script, chunks: list[Any], message: str) -> None:
    script.answers = [[gan_service_pb2.StreamSamplesResponse(chunk=chunk) for chunk in chunks]]
    with pytest.raises(ganserve.ServerError, match=message):
        connect(script.address).batches(5)


def test_use_after_close(connect: Callable[..., Api], server: str) -> None:
    api = connect(server)
    stream = api.stream(10**6, model="tiny")
    api.models()
    api.close()
    api.close()
    for ask in (api.models, lambda: api.sample(1), lambda: api.next(stream), lambda: api.wait_until_ready(1)):
        with pytest.raises(ganserve.ClientClosed, match="this client is closed"):
            ask()


def test_closing_ends_other_tasks_calls_and_cancelling_a_task_works(script: Script) -> None:
    asked, hold = threading.Semaphore(0), threading.Event()
    script.next = lambda request, context: (asked.release(), hold.wait(60))  # type: ignore[method-assign,assignment]

    async def main() -> None:
        client = AsyncClient(script.address)
        first, second = asyncio.create_task(client.models()), asyncio.create_task(client.models())
        for _ in range(2):
            assert await asyncio.to_thread(asked.acquire, timeout=60)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await client.close()
        with pytest.raises(ganserve.RequestCancelled, match="the client was closed during this call"):
            await second

    try:
        asyncio.run(main())
    finally:
        hold.set()


def test_an_async_client_belongs_to_one_loop(server: str) -> None:
    client = AsyncClient(server)
    asyncio.run(client.models())
    with pytest.raises(GanserveError, match=r"belongs to another event loop: make one for each asyncio\.run"):
        asyncio.run(client.models())
