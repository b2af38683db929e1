"""Test that large answers, which are written as they travel, say the same as small ones, which are messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server import service
from in_core import core
from stubs import to_tensor
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ganserve_server.service import GanService


@pytest.fixture(scope="module")
def gan(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GanService]:
    with core(repository) as gan:
        yield gan


BEST = gan_service_pb2.Selection(method=gan_service_pb2.SELECTION_METHOD_BEST_OF_N, max_proposals_per_sample=3)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "tiny"},
        {"model": "tiny", "label_indices": [2]},
        {"model": "tiny", "label_names": ["one", "two", "zero", "one", "two"] * 10, "offset": 7},
        {"model": "tiny", "return_latents": True, "return_scores": True},
        {"model": "tiny", "selection": BEST, "return_scores": True},
        {"model": "tiny-rgb", "encoding": tensor_pb2.ENCODING_PNG},
        {"model": "tiny-rgb", "encoding": tensor_pb2.ENCODING_FLOAT32},
        {"model": "tiny-vector", "return_latents": True},
    ],
)
def test_samples(gan: GanService, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]) -> None:
    request = gan_service_pb2.SampleRequest(count=50, seed=3, **fields)
    stream = gan_service_pb2.StreamSamplesRequest(request=request, chunk_size=20)

    async def answers() -> list[Any]:
        return [await gan.sample_answer(request), *[one async for one in gan.stream_answers(stream)]]

    small = asyncio.run(answers())
    monkeypatch.setattr(service, "_ON_LOOP_SAMPLES", 0)
    large = asyncio.run(answers())
    assert len(small) == len(large) == 4
    for message, data in zip(small, large, strict=True):
        assert isinstance(data, bytes)
        assert type(message).FromString(data) == message


def test_labels_beyond_one_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"label {number}" for number in range(300))
    build_tiny_package(tmp_path, "many", model=TinyModel(label_names=names))
    with core(tmp_path) as gan:
        request = gan_service_pb2.SampleRequest(count=3, seed=3, label_indices=[299, 5, 128])
        message = asyncio.run(gan.sample(request))
        monkeypatch.setattr(service, "_ON_LOOP_SAMPLES", 0)
        assert asyncio.run(gan.sample(request)) == message
        assert list(message.label_indices) == [299, 5, 128]


def test_scores(gan: GanService, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = to_tensor(np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8, 1))
    request = gan_service_pb2.ScoreRequest(model="tiny", label_indices=[1])
    request.samples.tensor.CopyFrom(samples)
    small = asyncio.run(gan.score_answer(request))
    monkeypatch.setattr(service, "_ON_LOOP_SAMPLES", 0)
    large = asyncio.run(gan.score_answer(request))
    assert gan_service_pb2.ScoreResponse.FromString(large) == small
    assert len(small.scores) == 40
