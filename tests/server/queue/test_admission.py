"""Test requests that a queue refuses, drops or cancels."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from computation import Computation, behind_a_held_call, run, started, submitted, values
from ganserve_server.errors import (
    DeadlineExpiredError,
    QueueFullError,
)
from ganserve_server.queue.batcher import Batcher
from ganserve_server.queue.lanes import Priority
from ganserve_server.queue.options import QueueOptions

if TYPE_CHECKING:
    pass


def test_a_cancelled_request_frees_its_place() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        cancelled = await submitted(batcher, "cancelled", 20)
        with pytest.raises(QueueFullError):
            await batcher.submit("late", 5, QueueOptions(bulk=True))
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert batcher.queued_samples == 0
        late = await submitted(batcher, "late", 5, bulk=True)
        computation.let_go()
        await asyncio.gather(first, late)

    computation = run(scenario, max_queued_samples=20)
    assert "cancelled" not in {work for call in computation.calls for work, _, _ in call}


def test_the_rest_of_a_cancelled_request_is_not_computed() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        computation.hold()
        task = await submitted(batcher, "a", 80)
        await started(computation)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        computation.let_go()
        assert values(await batcher.submit("b", 1, QueueOptions())) == [0]

    assert run(scenario).calls == [[("a", 0, 8)], [("b", 0, 1)]]


def test_expired_work_is_not_computed() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        expired = await submitted(batcher, "expired", 3, deadline=time.monotonic())
        in_time = await submitted(batcher, "in time", 1, deadline=time.monotonic() + 60)
        computation.let_go()
        with pytest.raises(DeadlineExpiredError, match="passed in the queue"):
            await expired
        await asyncio.gather(first, in_time)
        assert batcher.statistics.expired == 1
        assert batcher.queued_samples == 0

    computation = run(scenario)
    assert "expired" not in {work for call in computation.calls for work, _, _ in call}


def test_a_full_queue_refuses_requests_and_says_when_to_retry() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        waiting = await submitted(batcher, "waiting", 18)
        with pytest.raises(QueueFullError, match="18 samples wait already and 3 more would exceed 20") as caught:
            await batcher.submit("too many", 3, QueueOptions(bulk=True))
        assert 0 < caught.value.retry_after_s <= 30
        fits = await submitted(batcher, "fits", 2, bulk=True)
        part = await submitted(batcher, "next part of a stream", 8, always_admit=True)
        computation.let_go()
        await asyncio.gather(first, waiting, fits, part)
        assert batcher.statistics.rejected == 1

    run(scenario, max_queued_samples=20)


def test_short_requests_count_only_requests_ahead_of_them() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        admitted = [
            await submitted(batcher, "huge", 1000, priority=Priority.LOW, always_admit=True),
            *[await submitted(batcher, f"low{index}", 5, priority=Priority.LOW) for index in range(4)],
        ]
        with pytest.raises(QueueFullError, match="20 samples wait already and 1 more would exceed 20"):
            await batcher.submit("low", 1, QueueOptions(priority=Priority.LOW))
        admitted += [await submitted(batcher, f"normal{index}", 5) for index in range(4)]
        with pytest.raises(QueueFullError, match="20 samples wait already"):
            await batcher.submit("normal", 1, QueueOptions())
        admitted.append(await submitted(batcher, "high", 1, priority=Priority.HIGH))
        (lanes,) = batcher._lanes._callers.values()
        computation.let_go()
        await asyncio.gather(first, *admitted)
        assert batcher.queued_samples == lanes.queued == 0
        assert {pair.short_queued for pair in lanes._pairs} == {0}

    computation = run(scenario, max_queued_samples=20)
    assert computation.calls[1][0] == ("high", 0, 1)


def test_a_request_larger_than_an_empty_queue_is_served() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        assert values(await batcher.submit("a", 100, QueueOptions())) == list(range(100))

    run(scenario, max_queued_samples=20)
