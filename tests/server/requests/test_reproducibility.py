"""Test that sample i of (version, seed, label, truncation) has the same bytes in every request.

It uses a real server process with real networks on the CPU, where the contract is exact.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc
from random_packages import build_convolutional_package, build_dense_package
from server_process import running_server
from stubs import OPTIONS, Stubs, connected, to_array
from tiny_packages import VECTOR, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn

MAX_BATCH_SIZE = 16
LENGTH = 60  # samples of each reference sequence


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((), id="any size", marks=pytest.mark.slow),
        pytest.param(("--batch-buckets", "4", "--instances", "2"), id="buckets"),
    ],
)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server of two workers and a small batch, which splits and joins requests of a few samples."""
    models = tmp_path_factory.mktemp("models")
    build_convolutional_package(models, "convolutional")
    build_dense_package(models, "dense")
    build_tiny_package(models, "vector", model=VECTOR)
    sizes = ("--max-batch-size", str(MAX_BATCH_SIZE), "--workers", "2", "--threads", "1")
    with running_server(models, *sizes, *request.param) as server:
        yield server.address


@pytest.fixture(scope="module")
def stubs(address: str) -> Iterator[Stubs]:
    with connected(address) as stubs:
        yield stubs


@pytest.fixture(scope="module")
def reference(stubs: Stubs) -> Reference:
    return Reference(stubs)


class Reference:
    """Draw reference sequences, one sample per request and one request at a time."""

    def __init__(self, stubs: Stubs) -> None:
        self._stubs = stubs

    @functools.cache  # noqa: B019 - lives as long as the module's tests
    def samples(self, model: str, seed: int, start: int, label: int | None, truncation: float | None) -> np.ndarray:
        fields = {} if label is None else {"label_indices": [label]}
        one_by_one = [
            self._stubs.sample(
                model=model,
                seed=seed,
                offset=start + index,
                count=1,
                truncation=truncation,
                return_latents=True,
                **fields,
            )
            for index in range(LENGTH)
        ]
        return np.concatenate([to_array(response.samples.tensor) for response in one_by_one])


SEEDS = [0, 7, 2**64 - 1]
STARTS = [0, 2**48 - LENGTH]
MODELS = {"convolutional": (True, True), "dense": (False, True), "vector": (False, False)}  # conditional, truncatable


@st.composite
def requests(draw: DrawFn) -> dict[str, object]:
    model = draw(st.sampled_from(list(MODELS)))
    conditional, truncatable = MODELS[model]
    skipped = draw(st.integers(0, LENGTH - 1))
    return {
        "model": model,
        "seed": draw(st.sampled_from(SEEDS)),
        "start": draw(st.sampled_from(STARTS)),
        "skipped": skipped,
        "count": draw(st.integers(1, LENGTH - skipped)),
        "label": draw(st.integers(0, 2)) if conditional else None,
        "truncation": draw(st.sampled_from([None, 0.5, 2.0])) if truncatable else None,
        "chunk_size": draw(st.none() | st.integers(0, 20)),
        "per_sample": draw(st.booleans()),
    }


def to_message(request: dict) -> gan_service_pb2.SampleRequest:
    label, count = request["label"], request["count"]
    return gan_service_pb2.SampleRequest(
        model=request["model"],
        seed=request["seed"],
        offset=request["start"] + request["skipped"],
        count=count,
        truncation=request["truncation"],
        label_indices=[] if label is None else [label] * (count if request["per_sample"] else 1),
    )


async def ask(stub: gan_service_pb2_grpc.GanServiceAsyncStub, request: dict) -> np.ndarray:
    """Call Sample, or StreamSamples if the request has a chunk size."""
    message = to_message(request)
    if request["chunk_size"] is None:
        return to_array((await stub.Sample(message, timeout=60)).samples.tensor)
    stream = gan_service_pb2.StreamSamplesRequest(request=message, chunk_size=request["chunk_size"])
    return np.concatenate([to_array(r.chunk.samples.tensor) async for r in stub.StreamSamples(stream, timeout=60)])


async def ask_all(address: str, requests: list[dict]) -> list[np.ndarray]:
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub = gan_service_pb2_grpc.GanServiceStub(channel)
        return await asyncio.gather(*(ask(stub, request) for request in requests))


@settings(max_examples=60, deadline=None)
@given(batch=st.lists(requests(), min_size=1, max_size=40))
def test_samples_do_not_depend_on_other_requests(address: str, reference: Reference, batch: list[dict]) -> None:
    answers = asyncio.run(ask_all(address, batch))
    for request, answer in zip(batch, answers, strict=True):
        expected = reference.samples(
            request["model"], request["seed"], request["start"], request["label"], request["truncation"]
        )
        part = expected[request["skipped"] : request["skipped"] + request["count"]]
        np.testing.assert_array_equal(answer, part, err_msg=str(request))


def test_drawn_labels_are_the_same_in_any_part(stubs: Stubs) -> None:
    whole = stubs.sample(model="convolutional", seed=9, count=100)
    assert len(set(whole.label_indices)) == 3
    part = stubs.sample(model="convolutional", seed=9, offset=33, count=40)
    assert list(part.label_indices) == list(whole.label_indices)[33:73]
    np.testing.assert_array_equal(to_array(part.samples.tensor), to_array(whole.samples.tensor)[33:73])
    streamed = stubs.stream(model="convolutional", seed=9, count=100, chunk_size=7)
    assert [label for chunk in streamed for label in chunk.label_indices] == list(whole.label_indices)
    named = stubs.sample(model="convolutional", seed=9, count=100, label_names=list(whole.label_names))
    assert named.samples == whole.samples


def test_returned_latents_give_the_same_samples(stubs: Stubs) -> None:
    drawn = stubs.sample(model="dense", seed=3, count=50, truncation=1.2, return_latents=True)
    given_back = stubs.sample(model="dense", count=50, latents=drawn.latents)
    assert given_back.samples == drawn.samples
    assert (given_back.seed, given_back.offset) == (0, 0)


def test_the_returned_seed_of_a_request_without_one_repeats_it(stubs: Stubs) -> None:
    first, second = (stubs.sample(model="dense", count=3) for _ in range(2))
    assert first.seed != second.seed
    assert first.samples != second.samples
    assert stubs.sample(model="dense", count=3, seed=first.seed).samples == first.samples
    chunks = stubs.stream(model="dense", count=40, chunk_size=9)
    assert len({chunk.seed for chunk in chunks}) == 1
    again = stubs.sample(model="dense", count=40, seed=chunks[0].seed)
    streamed = np.concatenate([to_array(chunk.samples.tensor) for chunk in chunks])
    np.testing.assert_array_equal(streamed, to_array(again.samples.tensor))


def test_a_server_with_other_batches_and_threads_draws_the_same(
    tmp_path_factory: pytest.TempPathFactory, stubs: Stubs
) -> None:
    models = tmp_path_factory.mktemp("replica")
    build_convolutional_package(models, "convolutional")
    build_dense_package(models, "dense")
    flags = ("--max-batch-size", "100", "--workers", "1", "--threads", "2")
    with running_server(models, *flags) as server, connected(server.address) as replica:
        for model in ("convolutional", "dense"):
            fields = {"model": model, "seed": 77, "count": 230}
            assert replica.sample(**fields).samples == stubs.sample(**fields).samples
