"""Test the order of waiting requests: short and bulk lanes, priorities."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from computation import Computation, behind_a_held_call, run, submitted
from ganserve_server.queue.batcher import Batcher
from ganserve_server.queue.lanes import Priority

if TYPE_CHECKING:
    pass


def test_a_small_request_overtakes_a_huge_one() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        huge = await submitted(batcher, "huge", 800)
        small = [await submitted(batcher, f"small{index}", 1) for index in range(4)]
        computation.let_go()
        await asyncio.gather(first, huge, *small)

    computation = run(scenario)
    assert {work for work, _, _ in computation.calls[1]} == {"small0", "small1", "small2", "small3", "huge"}


def test_huge_requests_take_turns() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        tasks = [await submitted(batcher, name, 24) for name in ("a", "b")]
        computation.let_go()
        await asyncio.gather(first, *tasks)

    computation = run(scenario)
    assert [call[0][0] for call in computation.calls[1:]] == ["a", "b", "a", "b", "a", "b"]


@pytest.mark.parametrize("max_batch_size", [1, 2, 8])
def test_a_flood_of_small_requests_does_not_starve_a_huge_one(max_batch_size: int) -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        huge = await submitted(batcher, "huge", 5 * max_batch_size)
        small = [await submitted(batcher, "small", 1) for _ in range(60 * max_batch_size)]
        computation.let_go()
        await asyncio.gather(first, huge, *small)

    computation = run(scenario, max_batch_size=max_batch_size)
    order = [work for call in computation.calls for work, _, _ in call]
    last_huge = len(order) - 1 - order[::-1].index("huge")
    assert last_huge < len(order) / 2, "the huge request has a quarter of the room"


def test_streamed_parts_wait_behind_short_requests() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        bulk = await submitted(batcher, "bulk", 8, bulk=True)
        short = await submitted(batcher, "short", 6)
        computation.let_go()
        await asyncio.gather(first, bulk, short)

    computation = run(scenario)
    assert computation.calls[1] == [("short", 0, 6), ("bulk", 0, 2)]


def test_higher_priorities_go_first() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        tasks = [
            await submitted(batcher, priority.name, 8, priority=priority, bulk=priority is Priority.HIGH)
            for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
        ]
        computation.let_go()
        await asyncio.gather(first, *tasks)

    computation = run(scenario)
    assert [call[0][0] for call in computation.calls[1:]] == ["HIGH", "NORMAL", "LOW"]


@pytest.mark.parametrize("max_batch_size", [1, 8])
def test_low_priority_always_makes_progress(max_batch_size: int) -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        low = await submitted(batcher, "low", 2, priority=Priority.LOW)
        high = [await submitted(batcher, "high", 1, priority=Priority.HIGH) for _ in range(100)]
        computation.let_go()
        await asyncio.gather(first, low, *high)

    computation = run(scenario, max_batch_size=max_batch_size)
    order = [work for call in computation.calls for work, _, count in call for _ in range(count)]
    last_low = len(order) - 1 - order[::-1].index("low")
    assert 20 < last_low < 50, "two sixteenths of the samples"
