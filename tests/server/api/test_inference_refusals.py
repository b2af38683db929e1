"""Refused requests of the Open Inference Protocol, and their messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from ganserve_server.requests.limits import Limits
from in_process import in_process_server
from open_inference import infer_inputs, raw_request
from stubs import TIMEOUT_S, Stubs, violations
from tiny_packages import VECTOR, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

LATENTS = np.zeros((3, 4), np.float32)
LABELS = np.array([2, 0, 1], np.int64)
SEEDS = np.array([1, 2], np.uint64)
SEED = SEEDS[:1]
SAMPLES = np.zeros((2, 8, 8, 1), np.uint8)
GIVEN = {"latents": LATENTS, "labels": LABELS}


@pytest.fixture
def infer(stubs: Stubs) -> service_pb2_grpc.GRPCInferenceServiceStub:
    return service_pb2_grpc.GRPCInferenceServiceStub(stubs.channel)


@pytest.fixture
def client(server: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server) as client:
        yield client


def refusal(stub: service_pb2_grpc.GRPCInferenceServiceStub, request: service_pb2.ModelInferRequest) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=TIMEOUT_S)
    return caught.value


@pytest.mark.parametrize(
    ("model", "inputs", "field", "words"),
    [
        ("tiny", {"latents": LATENTS}, "inputs.labels", "is missing; with latents, 'tiny' needs a label for each"),
        ("tiny", {"latent": LATENTS}, "inputs.latent", "is not an input of 'tiny', which has: latents FP32 [N, 4]"),
        ("tiny-vector", {"seeds": SEED, "labels": LABELS}, "inputs.labels", "is not an input of 'tiny-vector'"),
        ("tiny-codes.critic", {"samples": SAMPLES, "labels": LABELS[:2]}, "inputs.labels", "is not an input of"),
        ("tiny", GIVEN | {"latents": LATENTS[:, :3]}, "inputs.latents.shape", "is [3, 3]; expected [N, 4]"),
        ("tiny", GIVEN | {"latents": LATENTS.ravel()}, "inputs.latents.shape", "is [12]; expected [N, 4]"),
        ("tiny", GIVEN | {"latents": LATENTS.astype(np.float64)}, "inputs.latents.datatype", "is FP64; expected FP32"),
        ("tiny", GIVEN | {"latents": LATENTS.astype(np.float16)}, "inputs.latents.datatype", "is FP16; expected FP32"),
        ("tiny", GIVEN | {"latents": LATENTS.astype("V2")}, "inputs.latents.datatype", "is BF16; expected FP32"),
        ("tiny", GIVEN | {"latents": LATENTS * np.nan}, "inputs.latents", "not finite in 3 rows, first in row 0"),
        ("tiny", GIVEN | {"labels": LABELS + 1}, "inputs.labels", "has 3 in row 0; model 'tiny' has the labels 0 to 2"),
        ("tiny", GIVEN | {"labels": -LABELS}, "inputs.labels", "has -2 in row 0 (and 1 other"),
        ("tiny", GIVEN | {"labels": LABELS[:2]}, "inputs.labels.shape", "has 2 labels; expected 1, or one for each of"),
        ("tiny", GIVEN | {"labels": LABELS.astype(np.int32)}, "inputs.labels.datatype", "is INT32; expected INT64"),
        ("tiny", GIVEN | {"labels": LABELS.reshape(1, 3)}, "inputs.labels.shape", "is [1, 3]; expected [N]"),
        ("tiny", GIVEN | {"seeds": SEED}, "inputs.seeds", "cannot be combined with latents"),
        ("tiny", {"seeds": np.array([4, -1], np.int64)}, "inputs.seeds", "has -1 in row 1; expected 0 to 2^64 - 1"),
        ("tiny", {"seeds": SEEDS.astype(np.uint32)}, "inputs.seeds.datatype", "is UINT32; expected UINT64"),
        ("tiny", {"seeds": SEEDS.astype(np.bool_)}, "inputs.seeds.datatype", "is BOOL; expected UINT64"),
        ("tiny", {"seeds": SEEDS, "labels": LABELS}, "inputs.labels.shape", "has 3 labels; expected 1, or one"),
        ("tiny.critic", {"samples": SAMPLES}, "inputs.labels", "is missing; expected INT64 [N]"),
        ("tiny.critic", {"labels": LABELS}, "inputs.samples", "is missing; expected UINT8 [N, 8, 8, 1]"),
        ("tiny.critic", {"samples": SAMPLES[..., 0]}, "inputs.samples.shape", "is [2, 8, 8]; expected [N, 8, 8, 1]"),
    ],
)
def test_wrong_inputs(
    infer: service_pb2_grpc.GRPCInferenceServiceStub,
    model: str,
    inputs: dict[str, NDArray[np.generic]],
    field: str,
    words: str,
) -> None:
    error = refusal(infer, raw_request(model, inputs))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in violations(error)[field]


def test_requests_for_more_samples_than_one_answer_holds(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, model=VECTOR)
    latents, seeds = np.zeros((11, 2), np.float32), np.zeros(11, np.uint64)

    async def main() -> None:
        async with in_process_server(tmp_path, limits=Limits(max_response_bytes=160)) as server:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            for inputs, parameters, field in [
                ({"seeds": seeds}, {}, "inputs.seeds.shape"),
                ({"latents": latents}, {}, "inputs.latents.shape"),
                ({}, {"count": 11}, "parameters.count"),
            ]:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.ModelInfer(raw_request("tiny", inputs, parameters=parameters), timeout=TIMEOUT_S)
                found = violations(caught.value)[field]
                assert "is 11 samples of 16 bytes" in found
                assert "ask for at most 10 at a time" in found
            await stub.ModelInfer(raw_request("tiny", {"seeds": seeds[:10]}), timeout=TIMEOUT_S)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("inputs", "parameters", "field", "words"),
    [
        ({"seeds": SEED}, {"count": 0}, "count", "is 0; expected 1 to"),
        ({"seeds": SEED}, {"count": -5}, "count", "is -5; expected 1 to"),
        ({"seeds": SEED}, {"count": 2**48}, "count", "ask for at most"),
        ({"seeds": SEED}, {"count": 1.5}, "count", "is 1.5; expected an integer"),
        ({"seeds": SEED}, {"count": True}, "count", "is True; expected an integer"),
        ({"seeds": SEED}, {"count": "4"}, "count", "is '4'; expected an integer"),
        ({"seeds": SEEDS}, {"count": 2}, "count", "cannot be combined with 2 seeds"),
        (GIVEN, {"count": 3}, "count", "cannot be combined with latents"),
        (GIVEN, {"offset": 0}, "offset", "cannot be combined with latents"),
        (GIVEN, {"truncation": 1.0}, "truncation", "cannot be combined with latents"),
        ({"seeds": SEED}, {"offset": -1}, "offset", "is -1; expected 0 to"),
        ({"seeds": SEED}, {"offset": 2**48}, "offset", "exceeds 2^48"),
        ({"seeds": SEED}, {"truncation": -1.0}, "truncation", "expected a finite number above 0"),
        ({"seeds": SEED}, {"truncation": float("nan")}, "truncation", "expected a finite number above 0"),
        ({"seeds": SEED}, {"truncation": "small"}, "truncation", "is 'small'; expected a number"),
        ({"seeds": SEED}, {"trunction": 1.0}, "trunction", "is not a parameter of 'tiny', which has: "),
        ({"seeds": SEED}, {"priority": -1}, "priority", "is -1; expected 0 to"),
        ({"seeds": SEED}, {"timeout": -1}, "timeout", "is -1; expected 0 to"),
        ({"seeds": SEED}, {"sequence_id": 7}, "sequence_id", "is 7; GANs have no sequences"),
        ({"seeds": SEED}, {"sequence_start": True}, "sequence_start", "GANs have no sequences"),
    ],
)
def test_wrong_parameters(
    infer: service_pb2_grpc.GRPCInferenceServiceStub,
    inputs: dict[str, NDArray[np.generic]],
    parameters: dict[str, Any],
    field: str,
    words: str,
) -> None:
    error = refusal(infer, raw_request("tiny", inputs, parameters=parameters))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in violations(error)[f"parameters.{field}"]


def test_parameters_without_effect_are_accepted(infer: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    parameters = {
        "binary_data_output": True,
        "triton_enable_empty_final_response": True,
        "sequence_id": 0,
        "sequence_end": False,
        "timeout": 0,
    }
    infer.ModelInfer(raw_request("tiny", {}, parameters=parameters), timeout=TIMEOUT_S)


def test_what_a_model_cannot_do_is_a_failed_precondition(infer: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    cases = [
        (raw_request("tiny-vector", {}, parameters={"truncation": 1.0}), "has uniform latents"),
        (raw_request("tiny", {}, parameters={"controls.c0": 1.0}), "has no controls"),
        (raw_request("tiny-uncritical.critic", {"samples": SAMPLES}), "has no critic: it judges 2 samples together"),
    ]
    for request, words in cases:
        error = refusal(infer, request)
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert words in error.details()


@pytest.mark.parametrize(
    ("model", "version", "code", "words"),
    [
        ("nope", "", grpc.StatusCode.NOT_FOUND, "there is no model 'nope'; there are: "),
        ("nope.critic", "", grpc.StatusCode.NOT_FOUND, "there is no model 'nope.critic'"),
        (".critic", "", grpc.StatusCode.NOT_FOUND, "there is no model '.critic'"),
        ("", "", grpc.StatusCode.INVALID_ARGUMENT, "model_name: this server has several models; name one: "),
        ("tiny", "3", grpc.StatusCode.NOT_FOUND, "has no version 3; there are: 1, 2"),
        ("tiny", "4294967295", grpc.StatusCode.NOT_FOUND, "has no version 4294967295; there are: 1, 2"),
        ("tiny", "10000000000", grpc.StatusCode.INVALID_ARGUMENT, "model_version: is '10000000000'"),
        ("tiny", "0", grpc.StatusCode.INVALID_ARGUMENT, "model_version: is '0'; expected a positive integer"),
        ("tiny", "-1", grpc.StatusCode.INVALID_ARGUMENT, "model_version: is '-1'"),
        ("tiny", "latest", grpc.StatusCode.INVALID_ARGUMENT, "model_version: is 'latest'"),
        ("tiny", "9" * 5000, grpc.StatusCode.INVALID_ARGUMENT, "(5002 characters)"),
    ],
)
def test_missing_models_and_versions(
    infer: service_pb2_grpc.GRPCInferenceServiceStub, model: str, version: str, code: grpc.StatusCode, words: str
) -> None:
    calls = [
        lambda: infer.ModelInfer(raw_request(model, {}, version=version), timeout=TIMEOUT_S),
        lambda: infer.ModelMetadata(service_pb2.ModelMetadataRequest(name=model, version=version), timeout=TIMEOUT_S),
        lambda: infer.ModelConfig(service_pb2.ModelConfigRequest(name=model, version=version), timeout=TIMEOUT_S),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() == code
        assert words in caught.value.details()


def _malformed() -> Iterator[tuple[service_pb2.ModelInferRequest, str, str]]:
    def base() -> service_pb2.ModelInferRequest:
        return raw_request("tiny", GIVEN)

    request = base()
    request.raw_input_contents.pop()
    yield request, "raw_input_contents", "has 1 entries; expected one for each of the 2 inputs"
    request = base()
    request.inputs[0].contents.fp32_contents.append(1)
    yield request, "inputs.latents.contents", "cannot be combined with raw_input_contents"
    request = base()
    request.raw_input_contents[0] += b"\0"
    yield request, "inputs.latents.contents", "has 49 raw bytes; [3, 4] of FP32 has exactly 48"
    for shape, words in [
        ([-1, 4], "expected 1 to 8 extents of at least 1"),
        ([0, 4], "expected 1 to 8 extents"),
        ([], "expected 1 to 8 extents"),
        ([1] * 100, "expected 1 to 8 extents"),
    ]:
        request = base()
        request.inputs[0].shape[:] = shape
        yield request, "inputs.latents.shape", words
    request = base()
    request.inputs[0].shape[:] = [2**62, 2**62]
    yield request, "inputs.latents.contents", "has exactly"
    request = base()
    request.inputs[0].datatype = "BYTES"
    yield request, "inputs.latents.datatype", "is 'BYTES'; expected one of BOOL, UINT8"
    request = base()
    request.inputs[0].datatype = ""
    yield request, "inputs.latents.datatype", "is ''; expected one of"
    request = base()
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])
    yield request, "inputs.latents", "is given twice"
    request = base()
    request.parameters["count"].SetInParent()
    yield request, "parameters.count", "has no value"
    for names, field, words in [
        (["sample"], "sample", "is not an output of 'tiny', which has: samples, latents, labels"),
        (["samples", "samples"], "samples", "is asked for twice"),
    ]:
        yield raw_request("tiny", GIVEN, outputs=names), f"outputs.{field}", words

    def typed(datatype: str, **contents: list[Any]) -> service_pb2.ModelInferRequest:
        request = service_pb2.ModelInferRequest(model_name="tiny.critic")
        tensor = request.inputs.add(name="samples", datatype=datatype, shape=[1, 8, 8, 1])
        for name, values in contents.items():
            getattr(tensor.contents, name).extend(values)
        return request

    yield typed("UINT8"), "inputs.samples.contents", "has 0 values; [1, 8, 8, 1] has 64"
    yield typed("UINT8", uint_contents=[256] * 64), "inputs.samples.contents", "has values beyond UINT8; expected 0 to"
    yield typed("INT8", int_contents=[-129] * 64), "inputs.samples.contents", "has values beyond INT8"
    yield typed("UINT8", int_contents=[1] * 64), "inputs.samples.contents", "UINT8 travels in uint_contents"
    yield typed("FP16", fp32_contents=[1.0] * 64), "inputs.samples.datatype", "travels in raw_input_contents only"
    yield typed("FP64", fp64_contents=[1.0] * 64), "inputs.samples.datatype", "is FP64; expected UINT8"
    yield typed("BOOL", bool_contents=[True] * 64), "inputs.samples.datatype", "is BOOL; expected UINT8"


@pytest.mark.parametrize(("request_message", "field", "words"), list(_malformed()))
def test_malformed_requests(
    infer: service_pb2_grpc.GRPCInferenceServiceStub,
    request_message: service_pb2.ModelInferRequest,
    field: str,
    words: str,
) -> None:
    error = refusal(infer, request_message)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in violations(error)[field]


def test_all_errors_are_reported_at_once(infer: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    inputs = {"latents": np.full_like(LATENTS, np.inf), "labels": LABELS + 9, "x" * 200: LABELS}
    request = raw_request("tiny", inputs, outputs=["y"], parameters={"priority": "high"})
    found = violations(refusal(infer, request))
    assert set(found) == {
        "inputs.latents",
        "inputs.labels",
        f"inputs.{'x' * 80}",
        "outputs.y",
        "parameters.priority",
    }


def test_missing_triton_features_are_unimplemented(
    client: triton.InferenceServerClient, infer: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    inputs = infer_inputs(seeds=SEED)
    shared = infer_inputs(seeds=SEED)
    shared[0].set_shared_memory("region", 8)
    kept, classified = triton.InferRequestedOutput("samples"), triton.InferRequestedOutput("samples", class_count=3)
    kept.set_shared_memory("region", 64)
    calls = [
        (client.get_system_shared_memory_status, "shared memory is not supported"),
        (lambda: client.register_system_shared_memory("a", "/a", 8), "shared memory is not supported"),
        (client.unregister_system_shared_memory, "shared memory is not supported"),
        (client.get_cuda_shared_memory_status, "shared memory is not supported"),
        (lambda: client.register_cuda_shared_memory("a", b"", 0, 8), "shared memory is not supported"),
        (client.unregister_cuda_shared_memory, "shared memory is not supported"),
        (client.get_trace_settings, "no Triton traces"),
        (lambda: client.update_trace_settings(settings={"trace_level": "OFF"}), "no Triton traces"),
        (client.get_log_settings, "log-level"),
        (lambda: client.update_log_settings({"log_info": True}), "log-level"),
        (lambda: client.infer("tiny", shared), "shared memory is not supported"),
        (lambda: client.infer("tiny", inputs, outputs=[kept]), "shared memory is not supported"),
        (lambda: client.infer("tiny", inputs, outputs=[classified]), "does not classify"),
    ]
    for call, words in calls:
        with pytest.raises(InferenceServerException, match=words) as caught:
            call()
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_bad_load_requests_are_refused(client: triton.InferenceServerClient) -> None:
    calls = [
        (lambda: client.load_model("tiny.critic"), "a part of model 'tiny': load or unload that"),
        (lambda: client.unload_model("tiny.critic"), "a part of model 'tiny': load or unload that"),
        (lambda: client.load_model(""), "expected the name of a model"),
        (lambda: client.load_model("tiny", config="{}"), "a model package contains all settings"),
    ]
    for call, words in calls:
        with pytest.raises(InferenceServerException, match=words) as caught:
            call()
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_there_is_one_repository_without_a_name(infer: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        infer.RepositoryIndex(service_pb2.RepositoryIndexRequest(repository_name="other"), timeout=TIMEOUT_S)
    assert "this server has one repository" in violations(caught.value)["repository_name"]
