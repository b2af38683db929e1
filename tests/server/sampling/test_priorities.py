"""Test that every call waits with the priority of its request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.queue.lanes import Priority
from selection_rules import REJECTION, request, sample
from stubs import to_tensor
from submissions import recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ganserve_server.models.model import Model
    from ganserve_server.service import GanService


async def _score_stream(gan: GanService, *messages: gan_service_pb2.ScoreRequest) -> None:
    async def stream() -> Any:
        for message in messages:
            yield gan_service_pb2.StreamScoresRequest(request=message)

    async for _ in gan.stream_scores(stream()):
        pass


async def _sample_stream(gan: GanService, message: gan_service_pb2.SampleRequest) -> None:
    async for _ in gan.stream_samples(gan_service_pb2.StreamSamplesRequest(request=message)):
        pass


@pytest.mark.parametrize(
    ("wire", "priority"), [(0, Priority.NORMAL), (1, Priority.HIGH), (2, Priority.NORMAL), (3, Priority.LOW)]
)
def test_every_call_waits_with_its_priority(gan: GanService, wire: int, priority: Priority) -> None:
    model: Model = gan.repository.resolve("tiny", 0)
    sample(gan, request(REJECTION, 1, 1))
    zeros = tensor_pb2.Samples(tensor=to_tensor(np.zeros((2, 8, 8, 1), np.uint8)))
    scores = gan_service_pb2.ScoreRequest(model="tiny", samples=zeros, label_indices=[0], priority=wire)
    plain = gan_service_pb2.SampleRequest(model="tiny", count=3, priority=wire, return_scores=True)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "sample": lambda: gan.sample(plain),
        "stream": lambda: _sample_stream(gan, plain),
        "selected": lambda: gan.sample(request(REJECTION, 8, 9, priority=wire)),
        "score": lambda: gan.score(scores),
        "score stream": lambda: _score_stream(gan, scores),
    }
    for name, call in calls.items():
        with recorded(model.generator) as drawn, recorded(model.critic) as scored:
            asyncio.run(_awaited(call))
        assert scored, name
        assert {how["priority"] for how in drawn + scored} == {priority}, name


async def _awaited(call: Callable[[], Awaitable[object]]) -> None:
    await call()
