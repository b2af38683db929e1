"""Test joining requests into calls, and splitting large ones."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from computation import Computation, behind_a_held_call, run, started, submitted, until, values
from ganserve_server.errors import (
    EngineError,
    UnavailableError,
)
from ganserve_server.queue.batcher import Batcher
from ganserve_server.queue.options import BatchConfig, QueueOptions
from ganserve_server.queue.statistics import Histogram

if TYPE_CHECKING:
    pass


def test_joins_waiting_requests_into_one_call() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        tasks = [await submitted(batcher, name, count) for name, count in [("a", 3), ("b", 1), ("c", 4), ("d", 2)]]
        assert batcher.queued_samples == 10
        computation.let_go()
        assert [values(await task) for task in tasks] == [[0, 1, 2], [0], [0, 1, 2, 3], [0, 1]]
        await first
        assert batcher.queued_samples == 0

    computation = run(scenario)
    assert computation.calls == [[("first", 0, 1)], [("a", 0, 3), ("b", 0, 1), ("c", 0, 4)], [("d", 0, 2)]]


def test_splits_large_requests_and_returns_them_in_order() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        assert values(await batcher.submit("a", 30, QueueOptions())) == list(range(30))

    computation = run(scenario, workers=3)
    assert max(count for call in computation.calls for _, _, count in call) <= 8
    assert sorted(part for call in computation.calls for part in call)[0] == ("a", 0, 8)


def test_a_delay_ends_with_a_full_call() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        full = [await submitted(batcher, name, 4) for name in ("a", "b")]
        await asyncio.gather(*full)
        assert computation.calls == [[("a", 0, 4), ("b", 0, 4)]]

    run(scenario, queue_delay_s=20)

    async def alone(batcher: Batcher[str], computation: Computation) -> None:
        assert values(await batcher.submit("a", 1, QueueOptions())) == [0]
        assert batcher.statistics.queue_s.sum >= 0.05

    run(alone, queue_delay_s=0.05)


def test_closing_does_not_wait_for_a_delay() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        waiting = await submitted(batcher, "a", 1)
        await asyncio.to_thread(batcher.close)
        with pytest.raises(UnavailableError):
            await waiting

    run(scenario, queue_delay_s=3600)


def test_small_samples_have_a_larger_maximum_batch() -> None:
    config = BatchConfig(max_batch_size=64, max_queued_samples=1000, workers=1, max_small_batch_size=256)
    assert config.for_samples_of(64 * 64 * 3).max_batch_size == 256
    assert config.for_samples_of(128 * 128 * 3) is config
    assert replace(config, max_queued_samples=100).for_samples_of(3).max_batch_size == 100
    assert replace(config, max_small_batch_size=0).for_samples_of(3).max_batch_size == 64


def test_each_worker_prepares_in_its_own_thread_first() -> None:
    prepared: list[tuple[int, str]] = []
    config = BatchConfig(max_batch_size=4, max_queued_samples=100, workers=2)
    batcher = Batcher(
        "m", Computation(), config, prepare=lambda n: prepared.append((n, threading.current_thread().name))
    )
    assert prepared == [(0, "m-0"), (1, "m-1")]
    batcher.close()


def test_a_batcher_that_nobody_uses_has_no_threads() -> None:
    def running() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("unused")]

    config = BatchConfig(max_batch_size=4, max_queued_samples=100, workers=16)
    batchers = [Batcher(f"unused-{number}", Computation(), config) for number in range(20)]
    assert running() == []
    assert values(asyncio.run(batchers[7].submit("a", 6, QueueOptions()))) == list(range(6))
    assert all(name.startswith("unused-7-") for name in running())
    assert running()
    for batcher in batchers:
        batcher.close()
    assert running() == []


def test_a_failed_preparation_leaves_no_thread() -> None:
    def prepare(worker: int) -> None:
        if worker == 1:
            raise EngineError("no memory")

    config = BatchConfig(max_batch_size=4, max_queued_samples=100, workers=3)
    with pytest.raises(EngineError, match="no memory"):
        Batcher("unprepared", Computation(), config, prepare=prepare)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("unprepared")]


def test_a_closed_event_loop_does_not_stop_the_batcher() -> None:
    config = BatchConfig(max_batch_size=8, max_queued_samples=99, workers=1)
    batcher = Batcher("test", Computation(), config, inline_samples=8)

    async def abandoned() -> None:
        task = asyncio.ensure_future(batcher.submit("abandoned", 1, QueueOptions()))
        await asyncio.sleep(0)
        asyncio.get_running_loop().stop()
        await task

    loop = asyncio.new_event_loop()
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(abandoned())
    asyncio.runners._cancel_all_tasks(loop)
    loop.close()
    assert values(asyncio.run(asyncio.wait_for(batcher.submit("next", 2, QueueOptions()), 20))) == [0, 1]
    batcher.close()


def test_the_batcher_counts_its_work() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        tasks = [
            await submitted(batcher, name, count) for name, count in (("a", 3), ("b", 20), ("gone", 1), ("late", 1))
        ]
        late = await submitted(batcher, "late", 1, deadline=time.monotonic() - 1)
        gone = [tasks.pop(), tasks.pop(), late]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        computation.let_go()
        await asyncio.gather(first, *tasks)
        done = batcher.statistics
        assert (done.requests, done.samples, done.calls) == (3, 24, 4)
        assert (done.rejected, done.expired, done.cancelled, done.failed) == (0, 1, 2, 0)
        assert (done.batch_sizes.count, done.batch_sizes.sum) == (4, 24)
        assert done.queue_s.count == 3
        assert done.compute_s.count == 4

    run(scenario)


def test_a_histogram_includes_its_bounds() -> None:
    histogram = Histogram((1, 2, 4))
    for value in (0, 1, 2, 3, 4, 5, 100):
        histogram.observe(value)
    assert histogram.counts == [2, 1, 2, 2]
    assert (histogram.count, histogram.sum) == (7, 115)


def test_idle_workers_share_one_request() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        computation.hold()
        # The first call tells the batcher that calls take long enough for others to help.
        slow = await submitted(batcher, "slow", 1)
        await started(computation)
        await asyncio.to_thread(time.sleep, 0.01)
        computation.let_go()
        await slow
        await until(lambda: batcher._idle == 2)  # its worker is back
        computation.hold()
        task = await submitted(batcher, "a", 32)
        for _ in range(2):
            await started(computation)
        computation.let_go()
        assert values(await task) == list(range(32))

    computation = run(scenario, workers=2, max_batch_size=32)
    assert computation.calls[1:] == [[("a", 0, 16)], [("a", 16, 16)]]


def test_few_samples_share_idle_workers_too() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        computation.takes_s = 0.01
        await batcher.submit("slow", 1, QueueOptions())
        await until(lambda: batcher._idle == 2)  # its worker is back
        computation.takes_s = 0
        computation.hold()
        task = await submitted(batcher, "a", 3)
        for _ in range(3):
            await started(computation)
        computation.let_go()
        assert values(await task) == [0, 1, 2]

    computation = run(scenario, workers=2)
    assert computation.calls[1:] == [[("a", 0, 2)], [("a", 2, 1)]]


def test_a_call_that_runs_alone_has_all_cores() -> None:
    def wait_until_idle(batcher: Batcher[str]) -> None:
        end = time.monotonic() + 20
        while batcher._idle < 2:
            assert time.monotonic() < end
            time.sleep(0.001)

    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        await batcher.submit("many", 32, QueueOptions())  # starts both workers
        for count, alone in ((2, True), (3, False), (1, True)):
            await asyncio.to_thread(wait_until_idle, batcher)
            computation.workers.clear()
            assert values(await batcher.submit("a", count, QueueOptions())) == list(range(count))
            assert (computation.workers == [-1]) is alone
            assert alone or -1 not in computation.workers

    run(scenario, workers=2, lone_samples=2)


def test_an_error_fails_the_requests_of_its_call_only() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        computation.failing = {"bad"}
        first = await behind_a_held_call(batcher, computation)
        bad = await submitted(batcher, "bad", 20)
        good = await submitted(batcher, "good", 8, bulk=True)
        computation.let_go()
        with pytest.raises(EngineError, match="cannot compute"):
            await bad
        assert values(await good) == list(range(8))
        assert values(await first) == [0]
        assert values(await batcher.submit("later", 2, QueueOptions())) == [0, 1]
        assert batcher.queued_samples == 0

    computation = run(scenario)
    assert sum(call[0][0] == "bad" for call in computation.calls) == 1, "the rest of a failed request is dropped"


def test_closing_fails_waiting_requests_and_finishes_running_calls() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        waiting = await submitted(batcher, "waiting", 1)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        with pytest.raises(UnavailableError):
            await waiting
        computation.let_go()
        await closing
        assert values(await first) == [0]
        with pytest.raises(UnavailableError):
            await batcher.submit("late", 1, QueueOptions())

    run(scenario)


def test_many_concurrent_requests_of_all_sizes_are_answered_completely() -> None:
    sizes = [1, 2, 7, 8, 9, 30, 100]

    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        async def one(index: int) -> None:
            count = sizes[index % len(sizes)]
            assert values(await batcher.submit("a", count, QueueOptions(bulk=index % 5 == 0))) == list(range(count))

        await asyncio.gather(*(one(index) for index in range(500)))

    computation = run(scenario, workers=4, max_queued_samples=10**6)
    assert all(sum(count for _, _, count in call) <= 8 for call in computation.calls)
