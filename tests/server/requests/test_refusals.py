"""Test that every wrong field of a request is reported with its own description."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from ganserve.v1 import gan_service_pb2, tensor_pb2
from stubs import TIMEOUT_S, Stubs, to_tensor, violations

if TYPE_CHECKING:
    pass


NAN = float("nan")


LATENTS = to_tensor(np.zeros((2, 4), np.float32))


SAMPLES = tensor_pb2.Samples(tensor=to_tensor(np.zeros((2, 8, 8, 1), np.uint8)))


VECTORS = tensor_pb2.Samples(tensor=to_tensor(np.zeros((2, 2), np.float32)))


def tensor(array: np.ndarray, **changes: object) -> tensor_pb2.Tensor:
    message = to_tensor(array)
    for field, value in changes.items():
        if field == "shape":
            del message.shape[:]
            message.shape.extend(value)
        else:
            setattr(message, field, value)
    return message


def latents(rows: int = 2, columns: int = 4, **changes: object) -> tensor_pb2.Tensor:
    return tensor(np.zeros((rows, columns), np.float32), **changes)


def selection(method: int = 1, most: int = 4) -> gan_service_pb2.Selection:
    return gan_service_pb2.Selection(method=method, max_proposals_per_sample=most)


def images(encoding: int, *files: bytes) -> tensor_pb2.Samples:
    return tensor_pb2.Samples(images=tensor_pb2.EncodedImages(encoding=encoding, files=files))


INVALID_SAMPLE_REQUESTS = [
    ({"model": "", "count": 1}, {"model": "tiny, tiny-codes, tiny-rgb, tiny-unconditional, tiny-uncritical"}),
    ({"count": 0}, {"count": "is 0; expected at least 1"}),
    (
        {"count": 2**40},
        {"count": "more than the 67108864 bytes of one answer; ask for at most 706409, or for a stream"},
    ),
    ({"count": 2**64 - 1}, {"count": "at most", "offset": "exceeds 2^48"}),
    ({"count": 2, "offset": 2**48 - 1}, {"offset": "281474976710655 + count 2 exceeds 2^48"}),
    ({"count": 1, "offset": 2**64 - 1}, {"offset": "exceeds 2^48"}),
    *[({"count": 1, "truncation": t}, {"truncation": "finite number above 0"}) for t in (0, -1, NAN, float("inf"))],
    ({"count": 1, "label_indices": [3]}, {"label_indices": "is 3; model 'tiny' has the labels 0 to 2"}),
    ({"count": 2, "label_indices": [0, 2**32 - 1]}, {"label_indices": "entry 1 is 4294967295"}),
    ({"count": 3, "label_indices": [5, 1, 6]}, {"label_indices": "entry 0 is 5 (and 1 other"}),
    (
        {"count": 1, "label_names": ["four"]},
        {"label_names": "is 'four'; model 'tiny' has the labels 'zero', 'one'"},
    ),
    ({"count": 1, "label_names": [""]}, {"label_names": "is ''"}),
    ({"count": 1, "label_names": ["ಠ_ಠ" * 1000]}, {"label_names": "characters"}),
    (
        {"count": 3, "label_indices": [0, 1]},
        {"label_indices": "has 2 entries; expected 1, or one for each of the 3 samples"},
    ),
    ({"count": 3, "label_names": ["one"] * 4}, {"label_names": "has 4 entries"}),
    ({"count": 1, "label_indices": [0], "label_names": ["zero"]}, {"label_names": "with label_indices"}),
    ({"count": 1, "encoding": 99}, {"encoding": "is 99; expected a value of ganserve.v1.Encoding"}),
    ({"count": 1, "encoding": -1}, {"encoding": "is -1"}),
    ({"count": 1, "selection": selection(0)}, {"selection.method": "SELECTION_METHOD_UNSPECIFIED; expected"}),
    ({"count": 1, "selection": selection(9)}, {"selection.method": "is 9"}),
    ({"count": 1, "selection": selection(1, 0)}, {"selection.max_proposals_per_sample": "is 0; expected 1 to 1024"}),
    ({"count": 1, "selection": selection(2, 1025)}, {"selection.max_proposals_per_sample": "is 1025; expected 1 to"}),
    (
        {"count": 2, "offset": 2**46 - 1, "selection": selection(1, 4)},
        {"offset": "(70368744177663 + count 2) * 4 proposals exceeds 2^48: use another seed, or fewer"},
    ),
    ({"count": 1, "priority": 9}, {"priority": "is 9; expected one of PRIORITY_HIGH, PRIORITY_NORMAL, PRIORITY_LOW"}),
    ({"count": 1, "priority": -1}, {"priority": "is -1"}),
    (
        {"count": 2**21, "encoding": 2, "model": "tiny-rgb"},
        {"count": "more than the 67108864 bytes of one answer; ask for at most"},
    ),
    (
        {
            "count": 2,
            "label_indices": [0],
            "latents": LATENTS,
            "seed": 1,
            "offset": 2,
            "truncation": 1,
            "selection": selection(),
        },
        {"seed": "with latents", "offset": "with latents", "truncation": "with latents", "selection": "with latents"},
    ),
    (
        {"count": 2, "label_indices": [0], "latents": LATENTS, "controls": {"c0": 0.5}},
        {"controls": "with latents"},
    ),
    ({"model": "tiny-codes", "count": 1, "controls": {"c0": 1.01}}, {"controls.c0": "c0 is 1.01; expected -1 to 1"}),
    ({"model": "tiny-codes", "count": 1, "controls": {"c0": NAN}}, {"controls.c0": "c0 is nan; expected -1 to 1"}),
    (
        {"model": "tiny-codes", "count": 1, "controls": {"c1": 0, "c0": -2, "": 0}},
        {
            "controls.c1": "'c1' is not a control; model 'tiny-codes' has the controls c0",
            "controls.c0": "c0 is -2",
            "controls.": "'' is not a control",
        },
    ),
    ({"count": 2, "latents": LATENTS}, {"label_indices": "with latents, model 'tiny' needs labels"}),
    ({"count": 3, "label_indices": [0], "latents": LATENTS}, {"latents.shape": "has 2 latents, count is 3"}),
    (
        {"count": 2, "label_indices": [0], "latents": latents(2, 5)},
        {"latents.shape": "is [2, 5]; expected [N, 4]"},
    ),
    ({"count": 2, "label_indices": [0], "latents": latents(shape=[])}, {"latents.shape": "is []; expected [N, 4]"}),
    ({"count": 2, "label_indices": [0], "latents": latents(shape=[0, 4])}, {"latents.shape": "expected [N, 4] with N"}),
    (
        {"count": 2, "label_indices": [0], "latents": latents(shape=[2, 4, 1])},
        {"latents.shape": "is [2, 4, 1]"},
    ),
    (
        {"count": 2, "label_indices": [0], "latents": latents(shape=[2**32 - 1, 4])},
        {"latents.data": "has 32 bytes; [4294967295, 4] of float32 has exactly 68719476720"},
    ),
    ({"count": 2, "label_indices": [0], "latents": latents(data=b"123")}, {"latents.data": "has 3 bytes"}),
    (
        {"count": 2, "label_indices": [0], "latents": latents(data_type=1)},
        {"latents.data_type": "DATA_TYPE_UINT8; expected"},
    ),
    ({"count": 2, "label_indices": [0], "latents": latents(data_type=0)}, {"latents.data_type": "UNSPECIFIED"}),
    ({"count": 2, "label_indices": [0], "latents": latents(data_type=42)}, {"latents.data_type": "is 42"}),
    (
        {"count": 2, "label_indices": [0], "latents": tensor(np.array([[0, 0, 0, 0], [0, NAN, 0, 0]], np.float32))},
        {"latents.data": "not finite in 1 rows, first in row 1"},
    ),
    (
        {"count": 2, "label_indices": [0], "latents": tensor(np.full((2, 4), -np.inf, np.float32))},
        {"latents.data": "not finite in 2 rows"},
    ),
    (
        {
            "count": 0,
            "offset": 2**60,
            "truncation": -3,
            "label_names": ["x"],
            "encoding": 50,
            "selection": selection(0, 0),
        },
        {
            "count": "is 0",
            "offset": "exceeds",
            "truncation": "is -3",
            "label_names": "'x'",
            "encoding": "is 50",
            "selection.method": "UNSPECIFIED",
            "selection.max_proposals_per_sample": "is 0",
        },
    ),
]


@pytest.mark.parametrize(("fields", "expected"), INVALID_SAMPLE_REQUESTS, ids=range(len(INVALID_SAMPLE_REQUESTS)))
def test_each_bad_field_of_a_sample_request_is_reported(stubs: Stubs, fields: dict, expected: dict[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.sample(**({"model": "tiny"} | fields))
    assert_invalid(caught.value, expected)


def assert_invalid(error: grpc.RpcError, expected: dict[str, str]) -> None:
    assert error.code() == StatusCode.INVALID_ARGUMENT, error
    found = violations(error)
    assert found.keys() == expected.keys()
    for field, description in expected.items():
        assert description in found[field]
        assert field in error.details() or error.details().endswith("…")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "tiny", "count": 0, "truncation": -1}, {"request.count": "is 0", "request.truncation": "is -1"}),
        ({"model": "", "count": 1}, {"request.model": "name one: "}),
        ({"model": "tiny", "count": 2**48, "offset": 1}, {"request.offset": "exceeds 2^48"}),
        ({"model": "tiny-unconditional", "count": 2, "latents": LATENTS}, {"request.latents": "use Sample, or a seed"}),
    ],
)
def test_each_bad_field_of_a_stream_request_is_reported(stubs: Stubs, fields: dict, expected: dict[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.stream(**fields)
    assert_invalid(caught.value, expected)


def test_a_stream_request_without_a_request_is_invalid(stubs: Stubs) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stubs.gan.StreamSamples(gan_service_pb2.StreamSamplesRequest(chunk_size=3), timeout=TIMEOUT_S))
    assert_invalid(caught.value, {"request": "is missing"})


INVALID_SCORE_REQUESTS = [
    ({}, {"samples": "is missing", "label_indices": "scores by label"}),
    ({"samples": SAMPLES}, {"label_indices": "scores by label"}),
    ({"samples": SAMPLES, "label_indices": [0, 1, 2]}, {"label_indices": "has 3 entries"}),
    ({"samples": SAMPLES, "label_names": ["one", "nine"]}, {"label_names": "entry 1 is 'nine'"}),
    (
        {"samples": tensor_pb2.Samples(tensor=tensor(np.zeros((2, 8, 8), np.uint8))), "label_indices": [0]},
        {"samples.tensor.shape": "is [2, 8, 8]; expected [N, 8, 8, 1]"},
    ),
    (
        {
            "samples": tensor_pb2.Samples(tensor=tensor(np.zeros((2, 8, 8, 1), np.uint8), data_type=7)),
            "label_indices": [0],
        },
        {"samples.tensor.data_type": "is 7; expected DATA_TYPE_UINT8"},
    ),
    (
        {
            "samples": tensor_pb2.Samples(
                tensor=tensor(np.float32([0.5, -0.25, 1.5] + [0] * 61 + [1] * 64).reshape(2, 8, 8, 1))
            ),
            "label_indices": [0],
        },
        {"samples.tensor.data": "has values from -0.25 to 1.5 in row 0; expected 0 to 1, which is value / 255"},
    ),
    (
        {"samples": tensor_pb2.Samples(tensor=tensor(np.full((2, 8, 8, 1), NAN, np.float32))), "label_indices": [0]},
        {"samples.tensor.data": "not finite in 2 rows"},
    ),
    ({"samples": SAMPLES, "label_indices": [0], "priority": 4}, {"priority": "is 4"}),
    (
        {"samples": images(1, b"png"), "label_indices": [0, 1]},
        {
            "samples.images.encoding": "is ENCODING_RAW; expected ENCODING_PNG, ENCODING_JPEG or ENCODING_WEBP",
            "label_indices": "has 2 entries; expected 1",
        },
    ),
    (
        {"samples": images(77), "label_indices": [0]},
        {"samples.images.encoding": "is 77", "samples.images.files": "empty"},
    ),
    (
        {"samples": images(2, b"", b"x"), "label_indices": [0]},
        {"samples.images.files": "file 0 (and 1 other is wrong"},
    ),
    (
        {
            "samples": tensor_pb2.Samples(tensor=tensor(np.zeros((2, 8, 8, 1), np.uint8), data=b"")),
            "label_indices": [7],
        },
        {"samples.tensor.data": "has 0 bytes", "label_indices": "is 7"},
    ),
    (
        {"model": "tiny-vector", "samples": tensor_pb2.Samples(tensor=tensor(np.full((2, 2), NAN, np.float32)))},
        {"samples.tensor.data": "not finite in 2 rows, first in row 0"},
    ),
    (
        {"model": "tiny-vector", "samples": tensor_pb2.Samples(tensor=tensor(np.zeros((0, 2), np.float32)))},
        {"samples.tensor.shape": "with N of at least 1"},
    ),
]


@pytest.mark.parametrize(("fields", "expected"), INVALID_SCORE_REQUESTS, ids=range(len(INVALID_SCORE_REQUESTS)))
def test_each_bad_field_of_a_score_request_is_reported(stubs: Stubs, fields: dict, expected: dict[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.score(**({"model": "tiny"} | fields))
    assert_invalid(caught.value, expected)


OTHER_REFUSALS = [
    ("sample", {"model": "huge", "count": 1}, StatusCode.NOT_FOUND, "no model 'huge'; there are: tiny, tiny-codes"),
    ("sample", {"model": "Ünïcödé" * 500, "count": 1}, StatusCode.NOT_FOUND, "characters"),
    ("sample", {"model": "../tiny", "count": 1}, StatusCode.NOT_FOUND, "'../tiny'"),
    ("sample", {"model": "tiny", "version": 7, "count": 1}, StatusCode.NOT_FOUND, "no version 7; there are: 1, 2"),
    ("stream", {"model": "huge", "count": 1}, StatusCode.NOT_FOUND, "there are: tiny"),
    ("score", {"model": "tiny", "version": 2**32 - 1}, StatusCode.NOT_FOUND, "there are: 1, 2"),
    (
        "sample",
        {"model": "tiny-unconditional", "count": 1, "label_indices": [0]},
        StatusCode.FAILED_PRECONDITION,
        "is unconditional and takes no labels (got label_indices = [0]): leave them out",
    ),
    (
        "stream",
        {"model": "tiny-vector", "count": 1, "label_names": ["a"]},
        StatusCode.FAILED_PRECONDITION,
        "is unconditional",
    ),
    (
        "score",
        {"model": "tiny-vector", "samples": VECTORS, "label_indices": [0]},
        StatusCode.FAILED_PRECONDITION,
        "is unconditional",
    ),
    (
        "sample",
        {"model": "tiny-uncritical", "count": 1, "return_scores": True},
        StatusCode.FAILED_PRECONDITION,
        "no critic",
    ),
    (
        "score",
        {"model": "tiny-uncritical", "samples": SAMPLES, "label_indices": [0]},
        StatusCode.FAILED_PRECONDITION,
        "has no critic and cannot score: it judges 2 samples together",
    ),
    (
        "score",
        {"model": "tiny-codes", "samples": SAMPLES, "label_indices": [0]},
        StatusCode.FAILED_PRECONDITION,
        "scores without labels, though the generator takes them: leave the labels out",
    ),
    (
        "sample",
        {"model": "tiny", "count": 1, "controls": {"c0": 0.5, "b": 1}},
        StatusCode.FAILED_PRECONDITION,
        "has no controls (got 'b', 'c0'): leave them out",
    ),
    (
        "stream",
        {"model": "tiny-vector", "count": 1, "controls": {"c0": 0}},
        StatusCode.FAILED_PRECONDITION,
        "has no controls",
    ),
    (
        "sample",
        {"model": "tiny-vector", "count": 1, "truncation": 0.5},
        StatusCode.FAILED_PRECONDITION,
        "truncation applies to normal ones",
    ),
    *[
        (
            call,
            {"model": "tiny-vector", "count": 1, "encoding": encoding},
            StatusCode.FAILED_PRECONDITION,
            f"makes vectors, {name} is for images: ask for ENCODING_RAW or ENCODING_FLOAT32",
        )
        for call, encoding, name in [
            ("sample", 2, "ENCODING_PNG"),
            ("stream", 3, "ENCODING_JPEG"),
            ("sample", 4, "ENCODING_WEBP"),
        ]
    ],
    (
        "score",
        {"model": "tiny-vector", "samples": images(2, b"png")},
        StatusCode.FAILED_PRECONDITION,
        "scores vectors, not images: send samples.tensor",
    ),
    *[
        (
            call,
            {"model": "tiny-uncritical", "count": 1, "selection": selection(method)},
            StatusCode.FAILED_PRECONDITION,
            "has no critic and cannot select: it judges 2 samples together",
        )
        for call, method in [("sample", 1), ("stream", 2)]
    ],
]


@pytest.mark.parametrize(("call", "fields", "code", "message"), OTHER_REFUSALS, ids=range(len(OTHER_REFUSALS)))
def test_other_refusals_have_their_own_status(
    stubs: Stubs, call: str, fields: dict, code: object, message: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stubs, call)(**fields)
    assert caught.value.code() == code
    assert message in caught.value.details()


def test_get_model_refuses_like_the_others(stubs: Stubs) -> None:
    for fields, code in [
        ({}, StatusCode.INVALID_ARGUMENT),
        ({"model": "x"}, StatusCode.NOT_FOUND),
        ({"model": "tiny", "version": 3}, StatusCode.NOT_FOUND),
    ]:
        with pytest.raises(grpc.RpcError) as caught:
            stubs.gan.GetModel(gan_service_pb2.GetModelRequest(**fields), timeout=TIMEOUT_S)
        assert caught.value.code() == code
