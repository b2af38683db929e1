"""Test the Open Inference Protocol with the real tritonclient, beside GanService on the same port."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from ganserve.v1 import gan_service_pb2
from ganserve_server.models.latents import Distribution, draw_labels, draw_latents
from in_process import in_process_server
from open_inference import infer_inputs, output, raw_request, requested
from stubs import TIMEOUT_S, Stubs, to_array
from tiny_packages import CODES, CONDITIONAL, RGB, UNCONDITIONAL, VECTOR, TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LATENTS = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
LABELS = np.array([2, 0, 1], np.int64)


@pytest.fixture
def client(server: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server) as client:
        yield client


@pytest.fixture
def infer(stubs: Stubs) -> service_pb2_grpc.GRPCInferenceServiceStub:
    return service_pb2_grpc.GRPCInferenceServiceStub(stubs.channel)


def test_the_server_and_its_models_are_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert client.is_model_ready("tiny.critic", "2")
    missing = [("tiny", "3"), ("nope", ""), ("tiny-uncritical.critic", ""), ("tiny", "one"), (".critic", "")]
    for name, version in missing:
        assert not client.is_model_ready(name, version)


def test_the_server_describes_itself(client: triton.InferenceServerClient, stubs: Stubs) -> None:
    metadata = client.get_server_metadata()
    assert metadata.name == "ganserve"
    assert metadata.version
    assert {"model_repository", "model_configuration", "statistics"} <= set(metadata.extensions)
    assert "inference.GRPCInferenceService" in ProtoReflectionDescriptorDatabase(stubs.channel).get_services()


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        (
            "tiny",
            {"latents": ("FP32", [-1, 4]), "seeds": ("UINT64", [-1]), "labels": ("INT64", [-1])},
            {"samples": ("UINT8", [-1, 8, 8, 1]), "latents": ("FP32", [-1, 4]), "labels": ("INT64", [-1])},
        ),
        (
            "tiny.critic",
            {"samples": ("UINT8", [-1, 8, 8, 1]), "labels": ("INT64", [-1])},
            {"scores": ("FP32", [-1]), "probabilities": ("FP32", [-1])},
        ),
        (
            "tiny-vector",
            {"latents": ("FP32", [-1, 2]), "seeds": ("UINT64", [-1])},
            {"samples": ("FP32", [-1, 2]), "latents": ("FP32", [-1, 2])},
        ),
        (
            "tiny-codes.critic",
            {"samples": ("UINT8", [-1, 8, 8, 1])},
            {"scores": ("FP32", [-1]), "probabilities": ("FP32", [-1])},
        ),
    ],
)
def test_a_graph_describes_itself(
    client: triton.InferenceServerClient,
    name: str,
    inputs: dict[str, tuple[str, list[int]]],
    outputs: dict[str, tuple[str, list[int]]],
) -> None:
    metadata = client.get_model_metadata(name)
    assert metadata.name == name
    assert list(metadata.versions) == (["1", "2"] if name.startswith("tiny.") or name == "tiny" else ["1"])
    assert metadata.platform == "onnxruntime_onnx"
    assert {port.name: (port.datatype, list(port.shape)) for port in metadata.inputs} == inputs
    assert {port.name: (port.datatype, list(port.shape)) for port in metadata.outputs} == outputs

    config = client.get_model_config(name).config
    assert (config.name, config.platform, config.backend) == (name, "onnxruntime_onnx", "onnxruntime")
    assert config.max_batch_size == 64
    types = model_config_pb2.DataType
    assert {port.name: (types.Name(port.data_type)[5:], [-1, *port.dims]) for port in config.input} == inputs
    assert {port.name: (types.Name(port.data_type)[5:], [-1, *port.dims]) for port in config.output} == outputs
    assert {port.name for port in config.input if port.optional} == set(inputs) & (
        set() if name.endswith(".critic") else {"latents", "seeds", "labels"}
    )
    assert config.HasField("dynamic_batching")
    assert config.default_model_filename == ("critic.onnx" if name.endswith(".critic") else "generator.onnx")
    labels = config.parameters["label_names"].string_value
    assert json.loads(labels or "[]") == list(
        {"tiny": CONDITIONAL, "tiny-vector": VECTOR, "tiny-codes": CODES}[name.removesuffix(".critic")].label_names
    )


@pytest.mark.parametrize(
    ("name", "model"),
    [("tiny", CONDITIONAL), ("tiny-codes", CODES), ("tiny-unconditional", UNCONDITIONAL), ("tiny-rgb", RGB)],
)
def test_samples_are_the_graphs_output_for_the_latents(
    client: triton.InferenceServerClient, name: str, model: TinyModel
) -> None:
    latents = np.linspace(-2, 2, 3 * model.latent_dimension, dtype=np.float32).reshape(3, -1)
    labels = np.array([1, 0, 1], np.int64)
    inputs = {"labels": labels, "latents": latents} if model.label_names else {"latents": latents}
    result = client.infer(name, infer_inputs(**inputs), request_id="order-66")
    assert result.get_response().id == "order-66"
    assert (result.get_response().model_name, result.get_response().model_version) == (
        name,
        "2" if name == "tiny" else "1",
    )
    assert [tensor.name for tensor in result.get_response().outputs] == ["samples"]
    assert (result.as_numpy("samples") == model.samples(latents, labels if model.label_names else None)).all()


def test_typed_contents_columns_and_one_label_for_all(infer: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    request = service_pb2.ModelInferRequest(model_name="tiny")
    request.inputs.add(name="latents", datatype="FP32", shape=[3, 4]).contents.fp32_contents.extend(LATENTS.ravel())
    request.inputs.add(name="labels", datatype="INT64", shape=[3, 1]).contents.int64_contents.extend(LABELS)
    samples = output(infer.ModelInfer(request, timeout=TIMEOUT_S), "samples")
    assert (samples == CONDITIONAL.samples(LATENTS, LABELS)).all()

    request = service_pb2.ModelInferRequest(model_name="tiny.critic")
    tensor = request.inputs.add(name="samples", datatype="UINT8", shape=samples.shape)
    tensor.contents.uint_contents.extend(samples.ravel().tolist())
    request.inputs.add(name="labels", datatype="INT64", shape=[1]).contents.int64_contents.append(2)
    response = infer.ModelInfer(request, timeout=TIMEOUT_S)
    scores = CONDITIONAL.scores(samples, np.full(3, 2))
    assert (output(response, "scores") == scores).all()
    assert output(response, "probabilities") == pytest.approx(CONDITIONAL.probabilities(scores), abs=1e-6)


@pytest.mark.parametrize(("name", "model"), [("tiny", CONDITIONAL), ("tiny-codes", CODES), ("tiny-vector", VECTOR)])
def test_scores_are_those_of_gan_service(
    client: triton.InferenceServerClient, stubs: Stubs, name: str, model: TinyModel
) -> None:
    drawn = stubs.sample(model=name, count=5, seed=3, return_scores=True)
    samples = to_array(drawn.samples.tensor)
    inputs = {"samples": samples}
    if model.label_names and not model.label_free:
        inputs["labels"] = np.array(drawn.label_indices, np.int64)
    result = client.infer(f"{name}.critic", infer_inputs(**inputs), outputs=requested("probabilities", "scores"))
    assert [tensor.name for tensor in result.get_response().outputs] == ["probabilities", "scores"]
    assert (result.as_numpy("scores") == np.array(drawn.scores, np.float32)).all()
    assert (result.as_numpy("probabilities") == np.array(drawn.probabilities, np.float32)).all()
    only = client.infer(f"{name}.critic", infer_inputs(**inputs), outputs=requested("scores"))
    assert [tensor.name for tensor in only.get_response().outputs] == ["scores"]


@pytest.mark.parametrize("dtype", [np.uint64, np.int64])
@pytest.mark.parametrize("name", ["tiny", "tiny-codes", "tiny-vector", "tiny-unconditional", "tiny-uncritical"])
def test_each_seed_gives_the_same_bytes_as_gan_service(
    client: triton.InferenceServerClient, stubs: Stubs, name: str, dtype: type[np.generic]
) -> None:
    seeds = np.array([7, 2**62 + 1, 0, 7], dtype)
    result = client.infer(name, infer_inputs(seeds=seeds), parameters={"offset": 5})
    alone = [to_array(stubs.sample(model=name, seed=int(seed), offset=5, count=1).samples.tensor)[0] for seed in seeds]
    assert (result.as_numpy("samples") == np.stack(alone)).all()


def test_a_seed_of_64_bits_and_a_truncation_and_controls(client: triton.InferenceServerClient, stubs: Stubs) -> None:
    seeds = np.array([2**64 - 1, 1], np.uint64)
    parameters = {"truncation": 0.5, "controls.c0": -0.25}
    labels = np.array([1], np.int64)
    result = client.infer("tiny-codes", infer_inputs(seeds=seeds, labels=labels), parameters=parameters)
    alone = [
        stubs.sample(
            model="tiny-codes", seed=int(seed), count=1, truncation=0.5, controls={"c0": -0.25}, label_indices=[1]
        )
        for seed in seeds
    ]
    assert (result.as_numpy("samples") == np.concatenate([to_array(one.samples.tensor) for one in alone])).all()


def test_a_count_draws_a_range_of_one_seed(client: triton.InferenceServerClient, stubs: Stubs) -> None:
    for count in (1, 10, 150):
        result = client.infer(
            "tiny",
            infer_inputs(seeds=np.array([11], np.uint64)),
            outputs=requested("latents", "labels", "samples"),
            parameters={"count": count, "offset": 3, "truncation": 1},
        )
        drawn = stubs.sample(model="tiny", seed=11, offset=3, count=count, truncation=1, return_latents=True)
        assert (result.as_numpy("samples") == to_array(drawn.samples.tensor)).all()
        assert (result.as_numpy("latents") == to_array(drawn.latents)).all()
        assert result.as_numpy("labels").tolist() == list(drawn.label_indices)
        assert result.get_response().parameters["seed"].uint64_param == 11


def test_without_a_seed_one_is_drawn_and_returned(client: triton.InferenceServerClient, stubs: Stubs) -> None:
    result = client.infer("tiny", infer_inputs(labels=LABELS))
    seed = result.get_response().parameters["seed"].uint64_param
    again = stubs.sample(model="tiny", seed=seed, count=3, label_indices=LABELS.tolist())
    assert (result.as_numpy("samples") == to_array(again.samples.tensor)).all()
    other = client.infer("tiny", [], parameters={"count": 2})
    assert other.as_numpy("samples").shape == (2, 8, 8, 1)
    assert other.get_response().parameters["seed"].uint64_param != seed


def test_many_seeds(client: triton.InferenceServerClient) -> None:
    seeds = np.arange(5000, dtype=np.uint64)
    result = client.infer("tiny", infer_inputs(seeds=seeds), outputs=requested("samples", "labels", "latents"))
    latents = np.concatenate([draw_latents(seed, 0, 1, 4, Distribution.NORMAL) for seed in range(5000)])
    labels = np.concatenate([draw_labels(seed, 0, 1, 3) for seed in range(5000)])
    assert (result.as_numpy("latents") == latents).all()
    assert (result.as_numpy("labels") == labels).all()
    assert (result.as_numpy("samples") == CONDITIONAL.samples(latents, labels)).all()


def test_seeds_beyond_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganserve_server.open_inference.inference._VALUES_AT_A_TIME", 40)
    build_tiny_package(tmp_path)
    seeds = np.arange(35, dtype=np.uint64)
    labels = np.arange(35, dtype=np.int64) % 3

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            request = raw_request("tiny", {"seeds": seeds, "labels": labels}, outputs=["latents", "labels"])
            response = await stub.ModelInfer(request, timeout=TIMEOUT_S)
            latents = np.concatenate([draw_latents(seed, 0, 1, 4, Distribution.NORMAL) for seed in range(35)])
            assert (output(response, "latents") == latents).all()
            assert (output(response, "labels") == labels).all()

    asyncio.run(main())


def test_the_asyncio_client_does_the_same(server: str) -> None:
    async def main() -> None:
        async with triton_aio.InferenceServerClient(server) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("tiny.critic")
            assert (await client.get_server_metadata()).name == "ganserve"
            assert (await client.get_model_metadata("tiny")).name == "tiny"
            assert (await client.get_model_config("tiny")).config.name == "tiny"
            assert (await client.get_inference_statistics("tiny")).model_stats
            assert (await client.get_model_repository_index()).models
            inputs = infer_inputs(latents=LATENTS, labels=LABELS)
            results = await asyncio.gather(*[client.infer("tiny", inputs, priority=level) for level in range(5)])
            for result in results:
                assert (result.as_numpy("samples") == CONDITIONAL.samples(LATENTS, LABELS)).all()
            with pytest.raises(InferenceServerException, match="there is no model 'nope'") as caught:
                await client.infer("nope", inputs)
            assert caught.value.status() == "StatusCode.NOT_FOUND"

    asyncio.run(main())


def test_every_version_is_listed(client: triton.InferenceServerClient) -> None:
    index = client.get_model_repository_index().models
    found = {(entry.name, entry.version): (entry.state, entry.reason) for entry in index}
    assert found["tiny", "1"] == found["tiny", "2"] == found["tiny.critic", "1"] == ("READY", "")
    assert ("tiny-uncritical", "1") in found
    assert ("tiny-uncritical.critic", "1") not in found


def test_a_broken_version_is_unavailable_with_its_reason(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)
    build_tiny_package(tmp_path, version=2).joinpath("generator.onnx").write_bytes(b"")

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            index = await stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=TIMEOUT_S)
            states = {(entry.name, entry.version): entry for entry in index.models}
            assert states["tiny", "2"].state == "UNAVAILABLE"
            assert "generator.onnx has 0 bytes" in states["tiny", "2"].reason
            assert ("tiny.critic", "2") not in states
            ready = await stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), timeout=TIMEOUT_S)
            assert [(entry.name, entry.version) for entry in ready.models] == [("tiny", "1"), ("tiny.critic", "1")]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(raw_request("tiny", {}, version="2"), timeout=TIMEOUT_S)
            assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
            response = await stub.ModelInfer(raw_request("tiny", {}), timeout=TIMEOUT_S)
            assert response.model_version == "1", "the latest that is ready"

    asyncio.run(main())


def test_a_models_own_name_takes_precedence_over_a_critics(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny")
    build_tiny_package(tmp_path, "tiny.critic", model=VECTOR)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            index = await stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=TIMEOUT_S)
            assert [entry.name for entry in index.models] == ["tiny", "tiny.critic", "tiny.critic.critic"]
            response = await stub.ModelInfer(raw_request("tiny.critic", {}), timeout=TIMEOUT_S)
            assert output(response, "samples").shape == (1, 2)
            # Even if the model of that name lacks the version and the other model's critic has it.
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(raw_request("tiny.critic", {}, version="2"), timeout=TIMEOUT_S)
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND
            samples = np.zeros((1, 2), np.float32)
            response = await stub.ModelInfer(raw_request("tiny.critic.critic", {"samples": samples}), timeout=TIMEOUT_S)
            assert output(response, "scores").shape == (1,)

    asyncio.run(main())


def test_both_services_share_calls_and_their_statistics_show_it(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            model = server.repository.resolve("", 0)
            blocker = asyncio.Event()
            loop = asyncio.get_running_loop()
            go_on, run = threading.Event(), model._generator.run

            def held(*arguments: object) -> list[np.ndarray]:
                loop.call_soon_threadsafe(blocker.set)
                assert go_on.wait(TIMEOUT_S)
                return run(*arguments)

            model._generator.run = held
            first = asyncio.ensure_future(server.gan.Sample(gan_service_pb2.SampleRequest(count=1), timeout=TIMEOUT_S))
            await asyncio.wait_for(blocker.wait(), TIMEOUT_S)
            requests = [
                server.gan.Sample(gan_service_pb2.SampleRequest(count=2, seed=1), timeout=TIMEOUT_S),
                stub.ModelInfer(raw_request("tiny", {"seeds": np.array([5, 6, 7], np.uint64)}), timeout=TIMEOUT_S),
                stub.ModelInfer(raw_request("tiny", {"latents": LATENTS, "labels": LABELS}), timeout=TIMEOUT_S),
            ]
            while model.generator.queued_samples < 8:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.001)
            go_on.set()
            await asyncio.gather(first, *requests)
            assert model.generator.statistics.calls == 2, "one request alone, then all waiting ones"

            samples = CONDITIONAL.samples(LATENTS, LABELS)
            await stub.ModelInfer(raw_request("tiny.critic", {"samples": samples, "labels": LABELS}), timeout=TIMEOUT_S)
            answer = await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(), timeout=TIMEOUT_S)
            generator, critic = answer.model_stats
            assert (generator.name, generator.version, critic.name) == ("tiny", "1", "tiny.critic")
            assert (generator.inference_count, generator.execution_count) == (9, 2)
            assert (critic.inference_count, critic.execution_count) == (3, 1)
            stats = generator.inference_stats
            assert (stats.success.count, stats.fail.count, stats.queue.count, stats.compute_infer.count) == (4, 0, 4, 2)
            assert stats.success.ns == stats.queue.ns + stats.compute_infer.ns > 0
            one = await stub.ModelStatistics(
                service_pb2.ModelStatisticsRequest(name="tiny.critic", version="1"), timeout=TIMEOUT_S
            )
            assert [entry.name for entry in one.model_stats] == ["tiny.critic"]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name="nope"), timeout=TIMEOUT_S)
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND

    asyncio.run(main())


def test_large_requests_are_split_and_answers_are_whole(client: triton.InferenceServerClient) -> None:
    latents = np.random.default_rng(0).standard_normal((100_000, 4), np.float32)
    labels = np.arange(len(latents), dtype=np.int64) % 3
    result = client.infer("tiny", infer_inputs(latents=latents, labels=labels))
    assert (result.as_numpy("samples") == CONDITIONAL.samples(latents, labels)).all()
