"""Test health, reflection, and the handling of every call."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from onnx import TensorProto, helper, numpy_helper

from ganserve.v1 import gan_service_pb2
from ganserve_server.errors import EngineError
from ganserve_server.monitoring.call_tracking import Call
from ganserve_server.requests.limits import Limits
from in_process import in_process_server, wait_for_last_messages
from stubs import TIMEOUT_S, Stubs, to_array
from tiny_packages import TinyModel, build_tiny_package, critic_graph, write_package

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ganserve_server.models.model import Model


@pytest.mark.parametrize("service", ["", "ganserve.v1.GanService"])
def test_health_is_serving(stubs: Stubs, service: str) -> None:
    health = health_pb2_grpc.HealthStub(stubs.channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


@pytest.mark.parametrize("service", ["x", "tiny/3", "tiny/"])
def test_health_of_an_unknown_service_is_not_found(stubs: Stubs, service: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    with pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(stubs.channel).Check(request, timeout=TIMEOUT_S)
    assert caught.value.code() == StatusCode.NOT_FOUND


def test_reflection_describes_the_services(stubs: Stubs) -> None:
    database = ProtoReflectionDescriptorDatabase(stubs.channel)
    assert set(database.get_services()) >= {
        "ganserve.v1.GanService",
        "ganserve.v1.AdminService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert "grpc.reflection.v1.ServerReflection" in database.get_services()
    file = database.FindFileContainingSymbol("ganserve.v1.GanService")
    assert [method.name for method in file.service[0].method][:2] == ["Sample", "StreamSamples"]


def test_reflection_v1_answers_as_v1alpha(stubs: Stubs) -> None:
    call = stubs.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.reflection.v1.ServerReflection"),
    ]
    services, file = call(iter(asked), timeout=TIMEOUT_S)
    assert "ganserve.v1.GanService" in [service.name for service in services.list_services_response.service]
    described = descriptor_pb2.FileDescriptorProto.FromString(file.file_descriptor_response.file_descriptor_proto[0])
    assert described.package == "grpc.reflection.v1"
    assert described.service[0].method[0].input_type == ".grpc.reflection.v1.ServerReflectionRequest"


def test_health_lists_all_services(stubs: Stubs) -> None:
    call = stubs.channel.unary_unary("/grpc.health.v1.Health/List")
    # Each entry of field 1 is a map's entry: a name, and a message with the status 1.
    answer = call(b"", timeout=TIMEOUT_S)
    for name in (b"", b"ganserve.v1.GanService", b"tiny", b"tiny/2"):
        entry = b"\n" + bytes([len(name)]) + name + b"\x12\x02\x08\x01"
        assert b"\n" + bytes([len(entry)]) + entry in answer
    with pytest.raises(grpc.RpcError) as caught:
        stubs.channel.unary_unary("/grpc.health.v1.Health/Nothing")(b"", timeout=TIMEOUT_S)
    assert caught.value.code() is StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("service", "status"),
    [("tiny", "SERVING"), ("tiny/1", "SERVING"), ("tiny/2", "SERVING"), ("tiny-vector", "SERVING")],
)
def test_health_of_models(stubs: Stubs, service: str, status: str) -> None:
    answer = health_pb2_grpc.HealthStub(stubs.channel).Check(
        health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S
    )
    assert health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == status


def test_errors_carry_the_clients_request_id_or_a_new_one(stubs: Stubs) -> None:
    def request_id(metadata: Sequence[tuple[str, str]]) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            stubs.gan.Sample(gan_service_pb2.SampleRequest(), metadata=metadata, timeout=TIMEOUT_S)
        return dict(caught.value.trailing_metadata())["x-request-id"]

    assert request_id([("x-request-id", "order-66")]) == "order-66"
    assert request_id([]) != request_id([])
    assert len(request_id([("x-request-id", "x" * 65)])) == 16, "too long to be an id"


def test_every_answer_carries_the_request_id(stubs: Stubs) -> None:
    own = [("x-request-id", "order-67")]
    sample = gan_service_pb2.SampleRequest(model="tiny", count=1)
    _, unary = stubs.gan.Sample.with_call(sample, metadata=own, timeout=TIMEOUT_S)
    assert dict(unary.trailing_metadata())["x-request-id"] == "order-67"
    stream = stubs.gan.StreamSamples(
        gan_service_pb2.StreamSamplesRequest(request=sample), metadata=own, timeout=TIMEOUT_S
    )
    assert len(list(stream)) == 1
    assert dict(stream.trailing_metadata())["x-request-id"] == "order-67"
    ids = set()
    for _ in range(2):
        _, call = stubs.gan.ListModels.with_call(gan_service_pb2.ListModelsRequest(), timeout=TIMEOUT_S)
        ids.add(dict(call.trailing_metadata())["x-request-id"])
    assert len(ids) == 2
    assert all(len(one) == 16 for one in ids)


@pytest.mark.parametrize("method", ["/ganserve.v1.GanService/Invented", "/grpc.health.v1.Health/Invented", "/x"])
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
def test_methods_that_do_not_exist_are_refused_with_the_request_id(stubs: Stubs, kind: str, method: str) -> None:
    never = threading.Event()
    messages = iter(lambda: never.wait(TIMEOUT_S), True)  # a client that sends no message yet
    call = getattr(stubs.channel, kind)(method)
    sent = b"" if kind.startswith("unary") else messages
    with pytest.raises(grpc.RpcError) as caught:
        list(call(sent, metadata=[("x-request-id", "order-68")], timeout=TIMEOUT_S))
    never.set()
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == f"there is no method '{method}': ask server reflection what there is"
    assert dict(caught.value.trailing_metadata())["x-request-id"] == "order-68"


def test_an_internal_error_reveals_only_its_request_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            model = server.repository.resolve("", 0)

            def failing(feed: object, worker: int) -> list[np.ndarray]:
                raise EngineError("generator.onnx could not be executed: /secret/path")

            works, model._generator.run = model._generator.run, failing
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.gan.Sample(gan_service_pb2.SampleRequest(count=1), timeout=TIMEOUT_S)
            error = caught.value
            request_id = dict(error.trailing_metadata())["x-request-id"]
            assert error.code() == StatusCode.INTERNAL
            assert request_id in error.details()
            assert "secret" not in error.details()
            assert f"/ganserve.v1.GanService/Sample failed; request id {request_id}" in caplog.text
            assert "/secret/path" in caplog.text
            model._generator.run = works
            answer = await server.gan.Sample(gan_service_pb2.SampleRequest(count=1), timeout=TIMEOUT_S)
            assert len(answer.label_names) == 1

    asyncio.run(main())


def living_calls() -> int:
    return sum(isinstance(one, Call) for one in gc.get_objects())  # a list would keep the calls alive


def test_ended_calls_leave_no_reference_cycles(tmp_path: Path) -> None:
    """Messages can be large, and a garbage collection takes as long as a small call."""
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            for count in (1, 0):
                for _ in range(5):
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        await server.gan.Sample(gan_service_pb2.SampleRequest(count=count), timeout=TIMEOUT_S)
                async with asyncio.timeout(TIMEOUT_S):
                    while living_calls():  # noqa: ASYNC110 - the last one ends after its answer
                        await asyncio.sleep(0.01)

    gc.collect()
    gc.freeze()  # Hide what lives already, such as the calls of other servers in this process.
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
        gc.unfreeze()


def test_a_full_queue_is_resource_exhausted_with_retry_info(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path, max_queued_samples=64) as server:
            started, go_on = hold(server.repository.resolve("", 0))
            request = gan_service_pb2.SampleRequest(count=5000)
            first = asyncio.ensure_future(server.gan.Sample(request, timeout=TIMEOUT_S))
            assert await asyncio.to_thread(started.wait, TIMEOUT_S)
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await server.gan.Sample(request, timeout=TIMEOUT_S)
                assert caught.value.code() == StatusCode.RESOURCE_EXHAUSTED
                retry = error_details_pb2.RetryInfo()
                assert rpc_status.from_call(caught.value).details[0].Unpack(retry)
                assert 0 < retry.retry_delay.ToTimedelta().total_seconds() <= 30
            go_on.set()
            assert len((await first).label_names) == 5000

    asyncio.run(main())


def test_thousands_of_simultaneous_calls_are_answered_or_refused(tmp_path: Path) -> None:
    """By default gRPC would drop some of them as CANCELLED without a reason."""
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            request = gan_service_pb2.SampleRequest(count=1, seed=1)
            calls = [server.gan.Sample(request, timeout=10 * TIMEOUT_S) for _ in range(2500)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
            assert {error.code() for error in refused} <= {StatusCode.RESOURCE_EXHAUSTED}
            assert len(refused) < len(results)

    asyncio.run(main())


def hold(model: Model) -> tuple[threading.Event, threading.Event]:
    """Hold the generator's calls; return an event for the first call's start, and one that releases all."""
    run, started, go_on = model._generator.run, threading.Event(), threading.Event()

    def held(feed: dict[str, np.ndarray], worker: int) -> list[np.ndarray]:
        started.set()
        assert go_on.wait(TIMEOUT_S)
        return run(feed, worker)

    model._generator.run = held
    return started, go_on


def test_work_whose_deadline_passes_in_the_queue_is_dropped(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            model = server.repository.resolve("", 0)
            started, go_on = hold(model)
            first = asyncio.ensure_future(server.gan.Sample(gan_service_pb2.SampleRequest(count=10), timeout=TIMEOUT_S))
            assert await asyncio.to_thread(started.wait, TIMEOUT_S)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.gan.Sample(gan_service_pb2.SampleRequest(count=64), timeout=0.1)
            assert caught.value.code() == StatusCode.DEADLINE_EXCEEDED
            # The server ends it by its own clock a moment later and frees its place.
            until = time.monotonic() + TIMEOUT_S
            while model.generator.queued_samples and time.monotonic() < until:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)
            go_on.set()
            await first
            await server.gan.Sample(gan_service_pb2.SampleRequest(count=5), timeout=TIMEOUT_S)
            assert model.generator.statistics.samples == 15

    asyncio.run(main())


def test_a_stopping_server_explains_why_it_ends_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_package(tmp_path)
    wait_for_last_messages(monkeypatch)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            model = server.repository.resolve("", 0)
            started, go_on = hold(model)
            call = asyncio.ensure_future(server.gan.Sample(gan_service_pb2.SampleRequest(count=1), timeout=TIMEOUT_S))
            assert await asyncio.to_thread(started.wait, TIMEOUT_S)
            assert await server.server.drain(0.2) == 1
            with pytest.raises(grpc.aio.AioRpcError, match="ends this call unanswered: ask another replica") as caught:
                await call
            assert caught.value.code() == StatusCode.UNAVAILABLE
            assert server.server.calls.running == 0
            go_on.set()

    asyncio.run(main())


def test_a_cut_off_stream_is_told_how_to_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_package(tmp_path)
    wait_for_last_messages(monkeypatch)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            request = gan_service_pb2.StreamSamplesRequest(request=gan_service_pb2.SampleRequest(count=2**40, seed=1))
            stream = server.gan.StreamSamples(request)
            await stream.read()
            draining = asyncio.create_task(server.server.drain(0.2))
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await stream.read() is not grpc.aio.EOF:
                    pass
            assert await stream.code() == StatusCode.UNAVAILABLE
            assert "continue at another replica" in await stream.details()
            assert await draining == 1

    asyncio.run(main())


def test_the_server_is_serving_while_any_model_is_ready(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            whole = health_pb2.HealthCheckRequest()
            health = health_pb2_grpc.HealthStub(server.channel)
            call = health.Watch(whole, timeout=TIMEOUT_S)
            watch = aiter(call)
            statuses = [(await anext(watch)).status]
            await asyncio.to_thread(server.repository.unload_model, "tiny", 0)
            statuses.append((await anext(watch)).status)
            service = health_pb2.HealthCheckRequest(service="ganserve.v1.AdminService")
            assert (await health.Check(service)).status == health_pb2.HealthCheckResponse.SERVING
            await asyncio.to_thread(server.repository.load_model, "tiny", 0)
            statuses.append((await anext(watch)).status)
            assert statuses == [1, 2, 1], "SERVING, NOT_SERVING, SERVING"
            call.cancel()

    asyncio.run(main())


def test_the_largest_answer_and_request_arrive(tmp_path: Path) -> None:
    """Send almost 64 MiB in both directions."""
    large = TinyModel(shape=(256, 256, 4), label_names=(), latent_dimension=4)
    constants = {"pixel": np.array([-1, 1, 1, 4]), "image": np.array([1, 256, 256, 4])}
    nodes = [
        helper.make_node("Cast", ["latents"], ["numbers"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["numbers", "pixel"], ["pixels"]),
        helper.make_node("Expand", ["pixels", "image"], ["samples"]),
    ]
    graph = helper.make_graph(
        nodes,
        "expand",
        [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, ["N", 256, 256, 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    generator = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    graphs = {"generator.onnx": generator, "critic.onnx": critic_graph(large)}
    write_package(tmp_path, "large", 1, model=large, graphs=graphs)

    async def main() -> None:
        limits = Limits(max_request_bytes=2**26)
        async with in_process_server(tmp_path, max_batch_size=8, limits=limits) as server:
            answer = await server.gan.Sample(gan_service_pb2.SampleRequest(count=255, seed=1))
            assert to_array(answer.samples.tensor).shape == (255, *large.shape)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.gan.Sample(gan_service_pb2.SampleRequest(count=256, seed=1))
            assert "ask for at most 255, or for a stream" in caught.value.details()
            request = gan_service_pb2.ScoreRequest(samples=answer.samples, version=9)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.gan.Score(request)
            assert caught.value.code() == StatusCode.NOT_FOUND, "it was received and read"

    asyncio.run(main())
