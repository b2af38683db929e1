"""Test that every ModelInferRequest gets a result or a status for a client error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ganserve_server.open_inference.graphs import DATATYPES
from open_inference import raw_request
from stubs import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLAMING = {
    StatusCode.INVALID_ARGUMENT,
    StatusCode.NOT_FOUND,
    StatusCode.FAILED_PRECONDITION,
    StatusCode.UNIMPLEMENTED,
    # A request may ask for a timeout of a microsecond.
    StatusCode.DEADLINE_EXCEEDED,
}
_MODELS = ["tiny", "tiny.critic", "tiny-vector", "tiny-codes.critic", "tiny-uncritical.critic"]
_NAMES = ["latents", "seeds", "labels", "samples", "scores", "probabilities"]
_PARAMETERS = [
    "count",
    "offset",
    "truncation",
    "controls.c0",
    "priority",
    "timeout",
    "sequence_id",
    "triton_x",
    "shared_memory_region",
    "classification",
]
_INT64 = st.integers(-(2**63), 2**63 - 1)
_LITTLE = st.integers(-1, 4)
_CONTENTS: dict[str, st.SearchStrategy[Any]] = {
    "bool_contents": st.booleans(),
    "int_contents": st.integers(-(2**31), 2**31 - 1),
    "int64_contents": _LITTLE | _INT64,
    "uint_contents": st.integers(0, 300) | st.integers(0, 2**32 - 1),
    "uint64_contents": st.integers(0, 2**64 - 1),
    "fp32_contents": st.floats(width=32),
    "fp64_contents": st.floats(),
    "bytes_contents": st.binary(max_size=9),
}


@st.composite
def _parameter(draw: st.DrawFn) -> service_pb2.InferParameter:
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "bool_param": st.booleans(),
        "int64_param": _LITTLE | _INT64,
        "string_param": st.text(max_size=20),
        "double_param": st.floats(),
        "uint64_param": st.integers(0, 2**64 - 1),
    }
    kind = draw(st.sampled_from([*kinds, ""]))
    return service_pb2.InferParameter(**({kind: draw(kinds[kind])} if kind else {}))


def _named(names: list[str], unusual: int = 10) -> st.SearchStrategy[str]:
    """Generate names, most of them known."""
    return st.integers(0, unusual).flatmap(lambda roll: st.text(max_size=200) if roll == 0 else st.sampled_from(names))


def _set_parameters(draw: st.DrawFn, message: Any, most: int) -> None:
    for name, value in draw(st.dictionaries(_named(_PARAMETERS), _parameter(), max_size=most)).items():
        message.parameters[name].CopyFrom(value)


@st.composite
def _requests(draw: st.DrawFn) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(
        model_name=draw(_named(_MODELS)),
        model_version=draw(st.sampled_from(["", "", "1", "9"]) | st.text(max_size=12)),
        id=draw(st.text(max_size=12)),
    )
    _set_parameters(draw, request, 3)
    for _ in range(draw(st.integers(0, 3))):
        tensor = request.inputs.add(
            name=draw(_named(_NAMES)),
            datatype=draw(_named([*DATATYPES])),
            shape=draw(st.lists(_LITTLE | _INT64, max_size=5)),
        )
        _set_parameters(draw, tensor, 1)
        if draw(st.integers(0, 3)) == 0:
            field = draw(st.sampled_from([*_CONTENTS]))
            getattr(tensor.contents, field).extend(draw(st.lists(_CONTENTS[field], max_size=20)))
        if draw(st.booleans()):
            # Sometimes a shape that fits, with the right number of bytes.
            shape, size = draw(
                st.sampled_from([([2, 4], 32), ([2], 16), ([1, 8, 8, 1], 64), ([2, 2], 16), ([2, 1], 16)])
            )
            tensor.shape[:] = shape
            request.raw_input_contents.append(draw(st.binary(min_size=size, max_size=size)))
        elif draw(st.booleans()):
            request.raw_input_contents.append(draw(st.binary(max_size=64)))
    for _ in range(draw(st.integers(0, 2))):
        _set_parameters(draw, request.outputs.add(name=draw(_named(_NAMES))), 1)
    return request


def _good() -> list[service_pb2.ModelInferRequest]:
    latents, labels = np.zeros((2, 4), np.float32), np.array([2, 0], np.int64)
    return [
        raw_request("tiny", {"latents": latents, "labels": labels}, outputs=["samples", "latents"]),
        raw_request("tiny", {"seeds": labels.astype(np.uint64)}, parameters={"truncation": 0.5}),
        raw_request(
            "tiny-codes", {"seeds": labels[:1], "labels": labels % 2}, parameters={"count": 2, "controls.c0": 1}
        ),
        raw_request("tiny-vector", {"seeds": labels}, version="1"),
        raw_request("tiny.critic", {"samples": np.zeros((2, 8, 8, 1), np.uint8), "labels": labels}),
    ]


@st.composite
def _nearly_good_requests(draw: st.DrawFn) -> service_pb2.ModelInferRequest:
    """Generate valid requests with at most two changes."""
    request = service_pb2.ModelInferRequest()
    request.CopyFrom(draw(st.sampled_from(_good())))
    _set_parameters(draw, request, 1)
    index = draw(st.integers(0, len(request.inputs) - 1))
    tensor, raw = request.inputs[index], request.raw_input_contents[index]
    change = draw(st.sampled_from(["nothing", "extent", "datatype", "bytes", "length", "name", "gone", "output"]))
    if change == "extent":
        tensor.shape[draw(st.integers(0, len(tensor.shape) - 1))] = draw(_LITTLE | _INT64)
    elif change == "datatype":
        tensor.datatype = draw(_named([*DATATYPES]))
    elif change == "bytes":
        request.raw_input_contents[index] = draw(st.binary(min_size=len(raw), max_size=len(raw)))
    elif change == "length":
        request.raw_input_contents[index] = raw + b"1"
    elif change == "name":
        tensor.name = draw(_named(_NAMES))
    elif change == "gone":
        del request.inputs[index], request.raw_input_contents[index]
    elif change == "output":
        request.outputs.add(name=draw(_named(_NAMES)))
    return request


@pytest.fixture
def infer(server: str) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(server) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(request=_requests() | _nearly_good_requests())
def test_any_request_is_answered(
    infer: service_pb2_grpc.GRPCInferenceServiceStub, request: service_pb2.ModelInferRequest
) -> None:
    # A short request may ask for millions of samples: do not wait for them.
    count = request.parameters.get("count")
    if count is not None and max(count.int64_param, count.uint64_param) > 4:
        count.int64_param = 2**63 - 1
    call = infer.ModelInfer.future(request, timeout=TIMEOUT_S)
    error = call.exception()
    if error is not None:
        assert call.code() in _BLAMING, error
        assert call.details()
        return
    response = call.result()
    assert response.id == request.id
    wanted = [output.name for output in request.outputs]
    assert [output.name for output in response.outputs] == wanted or not wanted
    assert len(response.raw_output_contents) == len(response.outputs)
