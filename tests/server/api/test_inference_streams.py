"""ModelStreamInfer, deadlines, priorities, full queues, cancellation and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from ganserve_server.open_inference.inference import Inference
from ganserve_server.open_inference.plan import InferenceRequest
from ganserve_server.queue.lanes import Priority
from ganserve_server.queue.ordered_stream import ReadAhead, in_order
from in_process import in_process_server
from open_inference import infer_inputs, output, raw_request, requested
from server_process import running_server
from stubs import TIMEOUT_S, Stubs, to_array
from tiny_packages import CONDITIONAL, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from ganserve_server.models.model import Model

LATENTS = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
LABELS = np.array([2, 0, 1], np.int64)


class Gate:
    """Hold the calls of a model's generator until `open`."""

    def __init__(self, model: Model) -> None:
        self.holds = threading.Event()
        self._open = threading.Event()
        run: Callable[..., Any] = model._generator.run

        def held(*arguments: object) -> Any:
            self.holds.set()
            assert self._open.wait(TIMEOUT_S)
            return run(*arguments)

        model._generator.run = held

    def open(self) -> None:
        self._open.set()

    async def wait_until_it_holds(self) -> None:
        assert await asyncio.to_thread(self.holds.wait, TIMEOUT_S)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.002)


def test_a_stream_answers_in_order_and_survives_errors(server: str, stubs: Stubs) -> None:
    answers: queue.Queue[tuple[triton.InferResult | None, InferenceServerException | None]] = queue.Queue()
    with triton.InferenceServerClient(server) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(100):
            model = "nope" if number % 10 == 3 else "tiny"
            seeds = infer_inputs(seeds=np.array([number], np.uint64))
            count = 200 if number % 7 == 0 else 1
            client.async_stream_infer(model, seeds, request_id=str(number), parameters={"count": count})
        client.stop_stream()
    assert answers.qsize() == 100
    for number in range(100):
        result, error = answers.get_nowait()
        if number % 10 == 3:
            assert "[NOT_FOUND] there is no model 'nope'" in str(error)
            continue
        assert error is None
        response = result.get_response()
        assert response.id == str(number)
        assert response.parameters["triton_final_response"].bool_param
        assert response.parameters["seed"].uint64_param == number
        count = 200 if number % 7 == 0 else 1
        alone = stubs.sample(model="tiny", seed=number, count=count)
        assert (result.as_numpy("samples") == to_array(alone.samples.tensor)).all()


def test_the_asyncio_client_streams_and_errors_name_their_request(server: str) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        good, bad = LATENTS, LATENTS[:, :2]
        for model, latents in [("tiny", good), ("tiny", bad), ("tiny.critic", good), ("tiny", good)]:
            yield {"model_name": model, "inputs": infer_inputs(latents=latents, labels=LABELS), "request_id": model}

    async def main() -> None:
        async with triton_aio.InferenceServerClient(server) as client:
            answers = [answer async for answer in client.stream_infer(requests(), stream_timeout=TIMEOUT_S)]
            for result, error in (answers[0], answers[3]):
                assert error is None
                assert (result.as_numpy("samples") == CONDITIONAL.samples(LATENTS, LABELS)).all()
            assert "[INVALID_ARGUMENT] inputs.latents.shape: is [3, 2]; expected [N, 4]" in str(answers[1][1])
            assert "inputs.samples: is missing" in str(answers[2][1])
        async with grpc.aio.insecure_channel(server) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            stream = stub.ModelStreamInfer(iter([raw_request("nope", {}, request_id="66")]), timeout=TIMEOUT_S)
            (answer,) = [answer async for answer in stream]
            assert (answer.infer_response.id, answer.infer_response.model_name) == ("66", "nope")

    asyncio.run(main())


def test_an_unreadable_message_ends_a_stream_after_the_answers_before_it(server: str) -> None:
    good = raw_request("tiny", {"seeds": np.array([1], np.uint64)}).SerializeToString()
    with grpc.insecure_channel(server) as channel:
        method = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        stream = method(iter([good, good, b"\xff\xff", good]), timeout=TIMEOUT_S)
        for _ in range(2):
            assert not service_pb2.ModelStreamInferResponse.FromString(next(stream)).error_message
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_reads_ahead_within_limits_and_cancelling_frees_its_places(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def requests(sent: list[int], size: int) -> AsyncIterator[service_pb2.ModelInferRequest]:
        for number in range(500):
            sent.append(number)
            yield raw_request("tiny", {}, parameters={"count": size})

    async def main() -> None:
        async with in_process_server(tmp_path, max_batch_size=1) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            batcher = server.repository.resolve("", 0).generator
            gate = Gate(server.repository.resolve("", 0))
            # One request runs, the others wait. Large answers (300,000 samples of 64 bytes are 19 MB) allow fewer.
            for size, most in ((1, ReadAhead().requests - 1), (300_000, 300_000 - 1)):
                stream = stub.ModelStreamInfer(requests([], size), timeout=TIMEOUT_S)
                reading = asyncio.ensure_future(anext(aiter(stream)))
                await gate.wait_until_it_holds()
                await until(lambda most=most: batcher.queued_samples >= most)
                await asyncio.sleep(0.1)  # time in which it would continue reading
                assert batcher.queued_samples == most
                stream.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
                await until(lambda: batcher.queued_samples == 0)
                gate.open()
                gate = Gate(server.repository.resolve("", 0))

    asyncio.run(main())


def test_in_order_raises_errors_of_the_requests_in_order() -> None:
    async def requests() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    async def begin(request: int) -> tuple[Any, int]:
        async def work() -> int:
            await asyncio.sleep(0)
            return 10 * request

        return work(), 0

    async def main() -> None:
        answers = in_order(requests(), begin, ReadAhead(requests=1))
        assert [await anext(answers), await anext(answers)] == [10, 20]
        with pytest.raises(OSError, match="gone"):
            await anext(answers)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "priority"),
    [({}, Priority.NORMAL)]
    + [
        ({"priority": level}, priority)
        for level, priority in [
            (0, Priority.NORMAL),
            (1, Priority.HIGH),
            (2, Priority.NORMAL),
            (3, Priority.LOW),
            (2**64 - 1, Priority.LOW),
        ]
    ],
)
def test_priorities_follow_tritons_numbers(tmp_path: Path, given: dict[str, int], priority: Priority) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            request = InferenceRequest(model="tiny", inputs={}, parameters=given)
            assert Inference(server.repository).plan(request).priority == priority

    asyncio.run(main())


def test_a_timeout_shortens_the_deadline_and_never_lengthens_it(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            inference = Inference(server.repository)
            for timeout, deadline in ((2**62, 5.0), (1, 5.0)):
                request = InferenceRequest(model="tiny", inputs={}, parameters={"timeout": timeout})
                assert inference.plan(request, deadline=deadline).deadline == deadline, "already passed"
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            model = server.repository.resolve("", 0)
            gate = Gate(model)
            first = asyncio.ensure_future(stub.ModelInfer(raw_request("tiny", {}), timeout=TIMEOUT_S))
            await gate.wait_until_it_holds()
            late = raw_request("tiny", {}, parameters={"timeout": 1000})
            waiting = asyncio.ensure_future(stub.ModelInfer(late, timeout=TIMEOUT_S))
            await until(lambda: model.generator.queued_samples == 1)
            await asyncio.sleep(0.01)
            gate.open()
            await first
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await waiting
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            assert model.generator.statistics.samples == 1

    asyncio.run(main())


def test_a_full_queue_is_reported_with_retry_info_also_in_streams(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path, max_queued_samples=64) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            model = server.repository.resolve("", 0)
            gate = Gate(model)
            large = raw_request("tiny", {}, parameters={"count": 200})
            first = asyncio.ensure_future(stub.ModelInfer(large, timeout=TIMEOUT_S))
            await gate.wait_until_it_holds()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(large, timeout=TIMEOUT_S)
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert rpc_status.from_call(caught.value).details[0].Is(error_details_pb2.RetryInfo.DESCRIPTOR)
            stream = stub.ModelStreamInfer(iter([large]), timeout=TIMEOUT_S)
            assert "[RESOURCE_EXHAUSTED]" in (await anext(aiter(stream))).error_message
            gate.open()
            await first
            statistics = await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="tiny"), timeout=TIMEOUT_S)
            assert statistics.model_stats[0].inference_stats.fail.count == 2

    asyncio.run(main())


def test_an_engine_failure_reveals_nothing_about_the_server(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    def failing(*arguments: object) -> None:
        raise RuntimeError("/secret/path")

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            model = server.repository.resolve("", 0)
            works, model._generator.run = model._generator.run, failing
            stream = stub.ModelStreamInfer(timeout=TIMEOUT_S)
            await stream.write(raw_request("tiny", {}))
            message = (await stream.read()).error_message
            assert message.startswith("[INTERNAL] the server failed")
            assert "secret" not in message
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(raw_request("tiny", {}), timeout=TIMEOUT_S)
            assert caught.value.code() == grpc.StatusCode.INTERNAL
            assert "secret" not in caught.value.details()
            model._generator.run = works
            await stream.write(raw_request("tiny", {}))
            assert output((await stream.read()).infer_response, "samples").shape == (1, 8, 8, 1)
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF

    asyncio.run(main())


def test_a_draining_server_is_live_and_not_ready(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            gate = Gate(server.repository.resolve("", 0))
            first = asyncio.ensure_future(stub.ModelInfer(raw_request("tiny", {}), timeout=TIMEOUT_S))
            await gate.wait_until_it_holds()
            assert (await stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=TIMEOUT_S)).ready
            await server.server.announce_stop(0)
            assert not (await stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=TIMEOUT_S)).ready
            assert (await stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=TIMEOUT_S)).live
            draining = asyncio.create_task(server.server.drain(TIMEOUT_S))
            gate.open()
            await first
            assert await draining == 0

    asyncio.run(main())


def test_a_draining_server_answers_what_it_read_of_a_stream_and_ends_it(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            idle, busy = (stub.ModelStreamInfer(timeout=TIMEOUT_S) for _ in range(2))
            for stream in (idle, busy):
                await stream.write(raw_request("tiny", {}))
                assert not (await stream.read()).error_message
            gate = Gate(server.repository.resolve("", 0))
            await busy.write(raw_request("tiny", {}, request_id="66"))
            await gate.wait_until_it_holds()
            draining = asyncio.create_task(server.server.drain(TIMEOUT_S))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await idle.read()
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "reads no further requests" in caught.value.details()
            gate.open()
            assert (await busy.read()).infer_response.id == "66"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await busy.read()
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            assert await draining == 0, "no call was cut off"

    asyncio.run(main())


@pytest.fixture
def loading_server(tmp_path: Path) -> Iterator[tuple[Path, triton.InferenceServerClient]]:
    build_tiny_package(tmp_path)
    with running_server(tmp_path) as server, triton.InferenceServerClient(server.address) as client:
        yield tmp_path, client


def test_models_are_loaded_and_unloaded(loading_server: tuple[Path, triton.InferenceServerClient]) -> None:
    models, client = loading_server
    build_tiny_package(models, version=2)
    client.load_model("tiny")
    assert client.is_model_ready("tiny", "2")
    assert client.infer("tiny", [], outputs=requested("samples")).get_response().model_version == "2"
    build_tiny_package(models, "other")
    client.load_model("other")
    assert client.is_model_ready("other.critic")
    client.unload_model("tiny", unload_dependents=True)
    assert not client.is_model_ready("tiny")
    until_unloaded = time.monotonic() + TIMEOUT_S
    while (states := _states(client, "tiny")) != {"UNAVAILABLE"}:
        assert states <= {"UNLOADING", "UNAVAILABLE"}
        assert time.monotonic() < until_unloaded
        time.sleep(0.01)
    with pytest.raises(InferenceServerException, match="is not loaded") as caught:
        client.infer("tiny", [])
    assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="'nope'") as caught:
            call("nope")
        assert caught.value.status() == "StatusCode.NOT_FOUND"
    client.load_model("tiny")
    assert client.infer("tiny", []).as_numpy("samples").shape == (1, 8, 8, 1)


def _states(client: triton.InferenceServerClient, name: str) -> set[str]:
    return {entry.state for entry in client.get_model_repository_index().models if entry.name == name}


def test_a_version_replaced_after_the_check_is_looked_up_again(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            inference = Inference(server.repository)
            plan = inference.plan(InferenceRequest(model="tiny", inputs={"seeds": np.array([4], np.uint64)}))
            replaced = plan.graph.model
            await asyncio.to_thread(server.repository.unload_model, "tiny", 0)
            await asyncio.to_thread(server.repository.load_model, "tiny", 1)
            result = await inference.run(plan)
            assert result.plan.seed == 4
            assert replaced.generator.statistics.samples == 0
            assert server.repository.resolve("tiny", 0).generator.statistics.samples == 1

    asyncio.run(main())
