"""Test the bounded groups and rounds of proposals, which can be refused, cancelled or expire."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ganserve.v1 import gan_service_pb2
from ganserve_server.errors import (
    DeadlineExpiredError,
    InvalidRequestError,
    QueueFullError,
)
from ganserve_server.queue.lanes import Priority
from ganserve_server.sampling import selection as selection_module
from in_core import core
from selection_rules import BEST, REJECTION, check, request, sample, stalled, until
from submissions import recorded
from tiny_packages import (
    UNCONDITIONAL,
    build_tiny_package,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ganserve_server.service import GanService


@pytest.mark.parametrize(("method", "most", "count"), [(BEST, 5, 100), (BEST, 1024, 2), (REJECTION, 7, 100)])
def test_proposals_are_drawn_in_bounded_groups(
    gan: GanService, monkeypatch: pytest.MonkeyPatch, method: int, most: int, count: int
) -> None:
    monkeypatch.setattr(selection_module, "_MOST_PROPOSALS", 60)
    model = gan.repository.resolve("tiny", 0)
    sample(gan, request(REJECTION, 1, 1))  # to measure the constants first
    with recorded(model.generator) as calls, recorded(model.critic) as scored:
        response = sample(gan, request(method, most, count))
    check(response, "tiny", method, most, 0)
    assert max(call["count"] for call in calls) <= 60
    assert [call["count"] for call in scored] == [call["count"] for call in calls]
    assert sum(call["count"] for call in calls) == response.selection.proposed


def test_large_samples_are_drawn_in_smaller_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_package(tmp_path, model=replace(UNCONDITIONAL, shape=(64, 64, 3)))
    monkeypatch.setattr(selection_module, "_MOST_BYTES", 10 * 64 * 64 * 3)
    with core(tmp_path) as gan, recorded(gan.repository.resolve("", 0).generator) as calls:
        sample(gan, request(BEST, 25, 3))
    assert [call["count"] for call in calls] == [9, 9, 7] * 3


def test_only_the_first_proposals_can_be_refused(models: Path) -> None:
    with core(models, max_queued_samples=8, workers=1) as gan, stalled(gan) as (release, running):
        model = gan.repository.resolve("tiny", 0)

        async def scenario() -> None:
            before = asyncio.create_task(gan.sample(request(BEST, 16, 1)))
            await until(running.is_set)
            waiting = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=4)))
            await until(lambda: model.generator.queued_samples == 4)
            with pytest.raises(QueueFullError):
                await gan.sample(request(BEST, 16, 1))
            release.set()
            await asyncio.gather(before, waiting)
            with recorded(model.generator) as calls:
                await gan.sample(request(REJECTION, 16, 20))
            assert [call["always_admit"] for call in calls if call["priority"] != Priority.LOW] == [
                False,
                *[True] * (sum(call["priority"] != Priority.LOW for call in calls) - 1),
            ]

        asyncio.run(scenario())


def test_a_selection_needs_room_only_for_its_first_proposals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_package(tmp_path, model=replace(UNCONDITIONAL, shape=(64, 64, 3)))
    monkeypatch.setattr(selection_module, "_MOST_BYTES", 10 * 64 * 64 * 3)
    with core(tmp_path, max_queued_samples=40, workers=1) as gan, stalled(gan, "") as (release, running):
        model = gan.repository.resolve("", 0)

        async def scenario() -> None:
            computing = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(count=4)))
            await until(running.is_set)
            waiting = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(count=4)))
            await until(lambda: model.generator.queued_samples == 4)
            with pytest.raises(QueueFullError):
                await gan.sample(gan_service_pb2.SampleRequest(count=50))
            selected = asyncio.create_task(gan.sample(request(BEST, 2, 50, model="")))
            await until(lambda: model.generator.queued_samples > 4 or selected.done())
            release.set()
            assert len((await selected).samples.tensor.data) == 50 * 64 * 64 * 3
            await asyncio.gather(computing, waiting)
            assert model.generator.statistics.rejected == 1

        asyncio.run(scenario())


def test_a_full_queue_is_reported_before_other_errors(models: Path) -> None:
    with core(models, max_queued_samples=8, workers=1) as gan, stalled(gan) as (release, running):
        model = gan.repository.resolve("tiny", 0)

        async def scenario() -> None:
            computing = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=1)))
            await until(running.is_set)
            waiting = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=8)))
            await until(lambda: model.generator.queued_samples == 8)
            wrong = gan_service_pb2.SampleRequest(model="tiny", count=1, label_indices=[99])
            with pytest.raises(QueueFullError):
                await gan.sample(wrong)
            wrong.priority = gan_service_pb2.PRIORITY_HIGH
            with pytest.raises(InvalidRequestError):  # the critic's queue is empty
                await gan.sample(wrong)
            assert model.generator.statistics.rejected == 1
            release.set()
            await asyncio.gather(computing, waiting)

        asyncio.run(scenario())


@pytest.mark.parametrize("method", [BEST, REJECTION])
def test_a_cancelled_request_leaves_nothing_behind(models: Path, method: int) -> None:
    with core(models, workers=1) as gan:
        model = gan.repository.resolve("tiny", 0)
        sample(gan, request(REJECTION, 1, 1))

        async def scenario() -> None:
            with stalled(gan) as (release, running):
                task = asyncio.create_task(gan.sample(request(method, 100, 100)))
                await until(running.is_set)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert model.generator.queued_samples == 0
                release.set()
            done = model.generator.statistics.samples
            await gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=1))
            assert model.generator.statistics.samples - done <= 1 + model.max_batch_size
            assert model.generator.queued_samples == model.critic.queued_samples == 0

        asyncio.run(scenario())


def test_deadlines_hold_in_every_round(models: Path) -> None:
    with core(models, workers=1) as gan, stalled(gan) as (release, running):

        async def scenario() -> None:
            first = asyncio.create_task(gan.sample(gan_service_pb2.SampleRequest(model="tiny", count=1)))
            await until(running.is_set)
            late = asyncio.create_task(gan.sample(request(BEST, 4, 1), deadline=time.monotonic() + 0.05))
            await asyncio.sleep(0.1)
            release.set()
            await first
            with pytest.raises(DeadlineExpiredError):
                await late

        asyncio.run(scenario())
