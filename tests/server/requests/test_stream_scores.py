"""Test StreamScores: order, bounded read-ahead, errors that name their request, cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.errors import EngineError, InvalidRequestError, NotFoundError, QueueFullError
from ganserve_server.queue.ordered_stream import ReadAhead
from in_core import core
from in_process import InProcess, in_process_server
from stubs import Stubs, to_tensor, violations
from submissions import recorded
from tiny_packages import CONDITIONAL, VECTOR, build_tiny_package, build_tiny_repository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from ganserve_server.service import GanService


def request(count: int = 2, *, value: int = 7, **fields: object) -> gan_service_pb2.StreamScoresRequest:
    samples = tensor_pb2.Samples(tensor=to_tensor(np.full((count, 8, 8, 1), value, np.uint8)))
    asked = {"model": "tiny", "samples": samples, "label_indices": [1]} | fields
    return gan_service_pb2.StreamScoresRequest(request=gan_service_pb2.ScoreRequest(**asked))


def expected(count: int, value: int) -> np.ndarray:
    return CONDITIONAL.scores(np.full((count, 8, 8, 1), value, np.uint8), np.ones(count, np.int64))


def test_scores_in_order_over_the_wire(stubs: Stubs) -> None:
    sizes = [int(size) for size in np.random.default_rng(0).integers(1, 200, 60)]
    requests = [request(size, value=index) for index, size in enumerate(sizes)]
    responses = list(stubs.gan.StreamScores(iter(requests), timeout=60))
    assert len(responses) == len(sizes)
    for index, (size, response) in enumerate(zip(sizes, responses, strict=True)):
        np.testing.assert_array_equal(np.float32(response.response.scores), expected(size, index))


def test_models_and_versions_may_differ(stubs: Stubs) -> None:
    vectors = np.float32([[0.5, -0.25]])
    requests = [
        request(version=1),
        request(),
        request(
            model="tiny-vector", samples=tensor_pb2.Samples(tensor=to_tensor(vectors)), label_indices=[], version=0
        ),
        request(model="tiny-codes", label_indices=[]),
    ]
    answers = [response.response for response in stubs.gan.StreamScores(iter(requests), timeout=60)]
    assert [(answer.model, answer.version) for answer in answers] == [
        ("tiny", 1),
        ("tiny", 2),
        ("tiny-vector", 1),
        ("tiny-codes", 1),
    ]
    np.testing.assert_array_equal(np.float32(answers[2].scores), VECTOR.scores(vectors))


def test_an_empty_stream_has_no_answers(stubs: Stubs) -> None:
    assert list(stubs.gan.StreamScores(iter(()), timeout=60)) == []


def test_an_error_names_its_request_after_earlier_answers(stubs: Stubs) -> None:
    requests = [request(), request(3), request(label_indices=[9]), request()]
    responses = stubs.gan.StreamScores(iter(requests), timeout=60)
    assert [len(next(responses).response.scores) for _ in range(2)] == [2, 3]
    with pytest.raises(grpc.RpcError) as caught:
        next(responses)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert violations(caught.value) == {
        "request.label_indices": "(request 2 of the stream, counting from 0) is 9; model 'tiny' has the labels 0 to 2"
    }


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GanService]:
    with core(build_tiny_repository(tmp_path_factory.mktemp("models"))) as gan:
        yield gan


async def several(*requests: gan_service_pb2.StreamScoresRequest) -> AsyncIterator[gan_service_pb2.StreamScoresRequest]:
    for one in requests:
        yield one


async def answers(gan: GanService, *requests: gan_service_pb2.StreamScoresRequest) -> list[Any]:
    return [response async for response in gan.stream_scores(several(*requests))]


def test_every_kind_of_error_names_its_request(gan: GanService, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequestError, match=r"^request: \(request 1 of the stream, counting from 0\) is missing"):
        asyncio.run(answers(gan, request(), gan_service_pb2.StreamScoresRequest()))
    with pytest.raises(NotFoundError, match=r"^request 0 of the stream, counting from 0: there is no model 'nope'"):
        asyncio.run(answers(gan, request(model="nope")))
    critic = gan.repository.resolve("tiny", 0).critic

    async def full(*_: object, **__: object) -> None:
        raise QueueFullError("no room", retry_after_s=2.5)

    async def broken(*_: object, **__: object) -> None:
        raise EngineError("it broke")

    with monkeypatch.context() as patch:
        patch.setattr(critic, "submit", full)
        with pytest.raises(QueueFullError, match="request 0 of the stream, counting from 0: no room") as caught:
            asyncio.run(answers(gan, request()))
        assert caught.value.retry_after_s == 2.5
        patch.setattr(critic, "submit", broken)
        with pytest.raises(EngineError, match="request 0 of the stream, counting from 0: it broke"):
            asyncio.run(answers(gan, request()))


def test_encoded_images_are_scored_in_streams(gan: GanService) -> None:
    async def scenario() -> None:
        drawn = gan_service_pb2.SampleRequest(model="tiny", count=30, seed=1, label_indices=[1])
        raw = await gan.sample(drawn)
        drawn.encoding = tensor_pb2.ENCODING_PNG
        encoded = await gan.sample(drawn)
        plain, files = await answers(gan, request(samples=raw.samples), request(samples=encoded.samples))
        assert plain == files

    asyncio.run(scenario())


def test_only_the_first_request_can_be_refused_and_all_are_bulk_work(gan: GanService) -> None:
    critic = gan.repository.resolve("tiny", 0).critic
    with recorded(critic) as calls:
        asyncio.run(answers(gan, *[request()] * 5))
    assert [call["always_admit"] for call in calls] == [False, True, True, True, True]
    assert all(call["bulk"] for call in calls)


@pytest.mark.parametrize(
    ("ahead", "most"),
    [(ReadAhead(requests=2), 3), (ReadAhead(requests=50, payload_bytes=2 * 64 * 100), 3)],
    ids=["requests", "bytes"],
)
def test_requests_are_read_only_up_to_the_limit_in_flight(gan: GanService, ahead: ReadAhead, most: int) -> None:
    read = 0
    release = threading.Event()
    critic = gan.repository.resolve("tiny", 0)._critic
    assert critic is not None
    run = critic.run

    def wait(feed: dict[str, np.ndarray], worker: int = 0) -> list[np.ndarray]:
        assert release.wait(60)
        return run(feed, worker)

    async def requests() -> AsyncIterator[gan_service_pb2.StreamScoresRequest]:
        nonlocal read
        for _ in range(40):
            read += 1
            yield request(100)

    async def scenario() -> None:
        nonlocal read
        responses = gan.stream_scores(requests(), ahead=ahead)
        first = asyncio.ensure_future(anext(responses))
        await asyncio.sleep(0.2)
        assert read <= most
        release.set()
        await first
        assert 1 + sum([1 async for _ in responses]) == 40

    critic.run = wait
    try:
        asyncio.run(scenario())
    finally:
        release.set()
        critic.run = run


def run(models: Path, scenario: Callable[[InProcess], Awaitable[None]]) -> None:
    async def main() -> None:
        async with in_process_server(models) as server:
            await asyncio.wait_for(scenario(server), 60)

    asyncio.run(main())


def test_the_work_ends_when_its_client_leaves(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def scenario(server: InProcess) -> None:
        model = server.repository.resolve("tiny", 0)
        call = server.gan.StreamScores()
        for _ in range(5):
            await call.write(request(1000))
        await call.read()
        call.cancel()
        while model.leases._count:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)
        assert model.critic.queued_samples == 0

    run(tmp_path, scenario)


def test_answers_arrive_while_the_client_still_sends(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def scenario(server: InProcess) -> None:
        call = server.gan.StreamScores()
        for value in range(10):
            await call.write(request(3, value=value))
            answer = await call.read()
            np.testing.assert_array_equal(np.float32(answer.response.scores), expected(3, value))
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF

    run(tmp_path, scenario)


def test_a_deadline_ends_a_stream(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def scenario(server: InProcess) -> None:
        call = server.gan.StreamScores(timeout=1)
        # On a busy machine even the request may be too late.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(request())
            for _ in range(2):  # answers to one request
                await call.read()
        assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    run(tmp_path, scenario)


def test_garbage_in_a_stream_is_reported_after_earlier_answers(stubs: Stubs) -> None:
    call = stubs.channel.stream_stream("/ganserve.v1.GanService/StreamScores", lambda raw: raw, lambda raw: raw)
    responses = call(iter([request().SerializeToString(), b"\xff\xff\xff"]), timeout=60)
    first = gan_service_pb2.StreamScoresResponse.FromString(next(responses))
    assert len(first.response.scores) == 2
    with pytest.raises(grpc.RpcError) as caught:
        next(responses)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
