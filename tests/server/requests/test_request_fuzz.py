"""Test that no request makes the server fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import json_format
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from ganserve.v1 import gan_service_pb2, tensor_pb2
from stubs import TIMEOUT_S, Stubs, connected, violations

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def module_stubs(server_process: object) -> Iterator[Stubs]:
    with connected(server_process.address) as stubs:
        yield stubs


# Numbers at the limits of types, signs and lengths.
UINT32 = st.sampled_from([0, 1, 2, 3, 4, 8, 64, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)


UINT64 = st.sampled_from([0, 1, 2, 3, 100, 2**47, 2**48, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)


NAMES = st.sampled_from(
    ["", "tiny", "tiny-codes", "tiny-rgb", "tiny-unconditional", "tiny-uncritical", "tiny-vector", "one", "red"]
)


TEXT = NAMES | st.text(max_size=30)


ENUM = st.integers(-(2**31), 2**31 - 1) | st.integers(0, 5)


TENSOR = st.builds(
    tensor_pb2.Tensor,
    data_type=ENUM,
    shape=st.sampled_from([[2, 4], [1, 8, 8, 1], [3, 2], [1, 16, 12, 3]]) | st.lists(UINT32, max_size=5),
    data=st.binary(max_size=64) | st.sampled_from([bytes(32), bytes(64), bytes(24), bytes(576), b"\xff" * 32]),
)


IMAGES = st.builds(tensor_pb2.EncodedImages, encoding=ENUM, files=st.lists(st.binary(max_size=8), max_size=3))


SAMPLES_MESSAGE = st.builds(tensor_pb2.Samples, tensor=TENSOR) | st.builds(tensor_pb2.Samples, images=IMAGES)


LABELS = {
    "label_indices": st.lists(UINT32, max_size=4),
    "label_names": st.lists(TEXT, max_size=4),
}


MODEL = {"model": TEXT, "version": st.sampled_from([0, 0, 1, 2]) | UINT32}


SMALL_COUNT = st.integers(0, 300) | st.sampled_from([2**40, 2**48, 2**64 - 1])


SAMPLE_REQUEST = st.builds(
    gan_service_pb2.SampleRequest,
    count=SMALL_COUNT,
    seed=st.none() | UINT64,
    offset=st.just(0) | UINT64,
    truncation=st.none() | st.floats(),
    encoding=st.just(0) | ENUM,
    priority=st.just(0) | ENUM,
    selection=st.none() | st.builds(gan_service_pb2.Selection, method=ENUM, max_proposals_per_sample=UINT32),
    return_latents=st.booleans(),
    return_scores=st.booleans(),
    latents=st.none() | TENSOR,
    controls=st.just({})
    | st.dictionaries(st.sampled_from(["c0", "c1"]) | st.text(max_size=5), st.floats(), max_size=3),
    **MODEL,
    **LABELS,
)


SCORE_REQUEST = st.builds(
    gan_service_pb2.ScoreRequest, samples=st.none() | SAMPLES_MESSAGE, priority=st.just(0) | ENUM, **MODEL, **LABELS
)


EXPECTED = {
    StatusCode.OK,
    StatusCode.INVALID_ARGUMENT,
    StatusCode.NOT_FOUND,
    StatusCode.FAILED_PRECONDITION,
}


def status(call: object, request: object) -> StatusCode:
    outcome = call.future(request, timeout=TIMEOUT_S)
    if outcome.code() == StatusCode.INVALID_ARGUMENT:
        assert violations(outcome)
    return outcome.code()


@settings(max_examples=400, deadline=None)
@given(request=SAMPLE_REQUEST)
def test_no_sample_request_makes_the_server_fail(module_stubs: Stubs, request: gan_service_pb2.SampleRequest) -> None:
    assert status(module_stubs.gan.Sample, request) in EXPECTED, json_format.MessageToJson(request)


@settings(max_examples=400, deadline=None)
@given(request=SCORE_REQUEST)
def test_no_score_request_makes_the_server_fail(module_stubs: Stubs, request: gan_service_pb2.ScoreRequest) -> None:
    assert status(module_stubs.gan.Score, request) in EXPECTED, json_format.MessageToJson(request)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), method=st.sampled_from(["Sample", "Score", "ListModels", "GetModel"]))
def test_no_garbage_makes_the_server_fail(module_stubs: Stubs, data: bytes, method: str) -> None:
    call = module_stubs.channel.unary_unary(f"/ganserve.v1.GanService/{method}", lambda raw: raw, lambda raw: raw)
    assert status(call, data) in EXPECTED


def test_garbage_in_a_stream_request_is_invalid(stubs: Stubs) -> None:
    call = stubs.channel.unary_stream("/ganserve.v1.GanService/StreamSamples", lambda raw: raw, lambda raw: raw)
    with pytest.raises(grpc.RpcError) as caught:
        list(call(b"\xff\xff\xff", timeout=TIMEOUT_S))
    assert caught.value.code() == StatusCode.INVALID_ARGUMENT
    assert "not a message of this method's type" in violations(caught.value)["request"]
