"""The batcher by itself, with a computation that the tests hold back and let go."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ganserve_server.errors import (
    DeadlineExpiredError,
    EngineError,
    QueueFullError,
    UnavailableError,
)
from ganserve_server.queue.batch_config import BatchConfig
from ganserve_server.queue.batcher import Batcher
from ganserve_server.queue.lanes import Priority
from ganserve_server.queue.statistics import Histogram

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ganserve_server.queue.lanes import Slice

Call = list[tuple[str, int, int]]


class Computation:
    """Numbers each sample of a work named "a" as its index; can be held, and remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.failing: set[str] = set()
        self.threads: list[str] = []
        self.takes_s = 0.0
        self.started = threading.Semaphore(0)
        self._gate = threading.Event()
        self._gate.set()

    def __call__(self, slices: Sequence[Slice[str]], worker: int) -> tuple[np.ndarray]:
        self.calls.append([(part.work, part.start, part.count) for part in slices])
        self.threads.append(threading.current_thread().name)
        self.started.release()
        self._gate.wait()
        time.sleep(self.takes_s)
        if failing := self.failing & {part.work for part in slices}:
            raise RuntimeError(f"cannot compute {failing}")
        return (np.concatenate([np.arange(part.start, part.start + part.count) for part in slices]),)

    def hold(self) -> None:
        self._gate.clear()

    def let_go(self) -> None:
        self._gate.set()


def run(
    scenario: Callable[[Batcher[str], Computation], Awaitable[None]],
    *,
    workers: int = 1,
    max_batch_size: int = 8,
    max_queued_samples: int = 1000,
    queue_delay_s: float = 0.0,
    inline_samples: int = 0,
) -> Computation:
    computation = Computation()
    config = BatchConfig(
        max_batch_size=max_batch_size,
        max_queued_samples=max_queued_samples,
        workers=workers,
        queue_delay_s=queue_delay_s,
    )
    batcher = Batcher("test", computation, config, inline_samples=inline_samples)

    async def main() -> None:
        await asyncio.wait_for(scenario(batcher, computation), 30)

    try:
        asyncio.run(main())
    finally:
        computation.let_go()
        batcher.close()
    return computation


def values(parts: list[tuple[np.ndarray, ...]]) -> list[int]:
    return np.concatenate([part[0] for part in parts]).tolist()


async def started(computation: Computation) -> None:
    """Waits until one more call has started."""
    assert await asyncio.to_thread(computation.started.acquire, timeout=20)


async def submitted(batcher: Batcher[str], work: str, count: int, **options: object) -> asyncio.Task:
    """Submits and waits until the request is in the queue."""
    task = asyncio.ensure_future(batcher.submit(work, count, **options))
    await asyncio.sleep(0)
    return task


async def behind_a_held_call(batcher: Batcher[str], computation: Computation) -> asyncio.Task:
    """Keeps the only worker busy, so that what is submitted next waits."""
    computation.hold()
    first = await submitted(batcher, "first", 1)
    await started(computation)
    return first


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
        assert values(await batcher.submit("a", 30)) == list(range(30))

    computation = run(scenario, workers=3)
    assert max(count for call in computation.calls for _, _, count in call) <= 8
    assert sorted(part for call in computation.calls for part in call)[0] == ("a", 0, 8)


def test_a_small_request_passes_a_huge_one() -> None:
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
def test_low_priority_does_not_stand_still(max_batch_size: int) -> None:
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


def test_a_delay_waits_for_a_full_call_and_not_beyond() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        full = [await submitted(batcher, name, 4) for name in ("a", "b")]
        await asyncio.gather(*full)
        assert computation.calls == [[("a", 0, 4), ("b", 0, 4)]]

    run(scenario, queue_delay_s=20)

    async def alone(batcher: Batcher[str], computation: Computation) -> None:
        assert values(await batcher.submit("a", 1)) == [0]
        assert batcher.statistics.queue_s.sum >= 0.05

    run(alone, queue_delay_s=0.05)


def test_closing_does_not_wait_for_a_delay() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        waiting = await submitted(batcher, "a", 1)
        await asyncio.to_thread(batcher.close)
        with pytest.raises(UnavailableError):
            await waiting

    run(scenario, queue_delay_s=3600)


def test_small_samples_have_calls_of_their_own_size() -> None:
    config = BatchConfig(max_batch_size=64, max_queued_samples=1000, workers=1, max_small_batch_size=256)
    assert config.for_samples_of(64 * 64 * 3).max_batch_size == 256
    assert config.for_samples_of(128 * 128 * 3) is config
    assert dataclasses.replace(config, max_queued_samples=100).for_samples_of(3).max_batch_size == 100
    assert dataclasses.replace(config, max_small_batch_size=0).for_samples_of(3).max_batch_size == 64


def test_each_worker_prepares_in_its_own_thread_before_the_batcher_is_there() -> None:
    prepared: list[tuple[int, str]] = []
    config = BatchConfig(max_batch_size=4, max_queued_samples=100, workers=2)
    batcher = Batcher(
        "m", Computation(), config, prepare=lambda n: prepared.append((n, threading.current_thread().name))
    )
    assert prepared == [(0, "m-0"), (1, "m-1")]
    batcher.close()


def test_what_cannot_be_prepared_leaves_no_thread_behind() -> None:
    def prepare(worker: int) -> None:
        if worker == 1:
            raise EngineError("no memory")

    config = BatchConfig(max_batch_size=4, max_queued_samples=100, workers=3)
    with pytest.raises(EngineError, match="no memory"):
        Batcher("unprepared", Computation(), config, prepare=prepare)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("unprepared")]


def test_short_calls_run_on_the_event_loop_and_are_shared_by_those_who_came_together() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        tasks = [asyncio.ensure_future(batcher.submit(name, 3)) for name in ("a", "b", "c")]
        assert [values(parts) for parts in await asyncio.gather(*tasks)] == [[0, 1, 2]] * 3
        computation.failing = {"bad"}
        with pytest.raises(EngineError, match="cannot compute"):
            await batcher.submit("bad", 1)
        with pytest.raises(DeadlineExpiredError):
            await batcher.submit("late", 1, deadline=time.monotonic() - 1)
        assert values(await batcher.submit("long", 20)) == list(range(20))

    computation = run(scenario, inline_samples=8)
    assert computation.calls[:2] == [[("a", 0, 3), ("b", 0, 3), ("c", 0, 2)], [("c", 2, 1)]]
    assert set(computation.threads) == {threading.main_thread().name}


def test_requests_that_the_event_loop_brings_one_by_one_share_a_short_call() -> None:
    async def scenario(batcher: Batcher[str], _computation: Computation) -> None:
        tasks = []
        for name in ("a", "b", "c", "d"):
            tasks.append(asyncio.ensure_future(batcher.submit(name, 1)))
            for _ in range(9):  # rounds of the loop from one to the next
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    computation = run(scenario, inline_samples=8)
    assert computation.calls == [[("a", 0, 1), ("b", 0, 1), ("c", 0, 1), ("d", 0, 1)]]


def test_requests_that_stay_alone_spare_ever_more_the_wait_for_company_until_some_comes() -> None:
    async def at_once(batcher: Batcher[str]) -> bool:
        task = asyncio.ensure_future(batcher.submit("x", 1))
        await asyncio.sleep(0)
        computed = not batcher.queued_samples
        await task
        return computed

    async def scenario(batcher: Batcher[str], _computation: Computation) -> None:
        waits = [index for index in range(300) if not await at_once(batcher)]
        assert waits[:6] == [0, 2, 6, 14, 30, 46]
        while await at_once(batcher):
            pass
        for _ in range(15):
            assert await at_once(batcher)
        await asyncio.gather(batcher.submit("a", 1), batcher.submit("b", 1))
        assert not await at_once(batcher)

    computation = run(scenario, inline_samples=8)
    assert [("a", 0, 1), ("b", 0, 1)] in computation.calls


def test_bulk_work_that_comes_beside_a_short_call_stays_off_the_event_loop() -> None:
    async def scenario(batcher: Batcher[str], _computation: Computation) -> None:
        await asyncio.gather(batcher.submit("short", 1), batcher.submit("bulk", 20))

    computation = run(scenario, inline_samples=2)
    main = threading.main_thread().name
    on_loop = [call for call, name in zip(computation.calls, computation.threads, strict=True) if name == main]
    assert all(sum(count for *_, count in call) <= 2 for call in on_loop)
    assert sum(count for call in computation.calls for *_, count in call) == 21


def test_what_was_computed_as_it_came_fails_expires_and_ends_as_others_do() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        await batcher.submit("alone", 1)
        with pytest.raises(DeadlineExpiredError):
            await batcher.submit("late", 1, deadline=time.monotonic() - 1)
        computation.failing = {"bad"}
        with pytest.raises(EngineError, match="cannot compute"):
            await batcher.submit("bad", 1)
        assert values(await batcher.submit("good", 8)) == list(range(8))
        await asyncio.to_thread(batcher.close)
        with pytest.raises(UnavailableError):
            await batcher.submit("unloaded", 1)
        done = batcher.statistics
        assert (done.requests, done.expired, done.failed, batcher.queued_samples) == (2, 1, 1, 0)

    run(scenario, inline_samples=8)


def test_what_failed_as_it_came_is_freed_without_the_garbage_collector() -> None:
    async def failed(batcher: Batcher[str]) -> weakref.ref[EngineError]:
        try:
            await batcher.submit("bad", 1)
        except EngineError as error:
            return weakref.ref(error)
        raise AssertionError

    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        await batcher.submit("alone", 1)
        computation.failing = {"bad"}
        gc.disable()
        try:
            assert (await failed(batcher))() is None
        finally:
            gc.enable()

    run(scenario, inline_samples=8)


def test_calls_of_more_samples_than_are_quick_go_to_the_workers() -> None:
    async def scenario(batcher: Batcher[str], _computation: Computation) -> None:
        for count in (2, 3, 2, 9):
            assert values(await batcher.submit("x", count)) == list(range(count))

    computation = run(scenario, inline_samples=2)
    main = threading.main_thread().name
    assert computation.threads[:3] == [main, "test-0", main]
    assert main not in computation.threads[3:4]


def test_an_event_loop_that_ends_takes_no_work_along() -> None:
    config = BatchConfig(max_batch_size=8, max_queued_samples=99, workers=1)
    batcher = Batcher("test", Computation(), config, inline_samples=8)

    async def abandoned() -> None:
        task = asyncio.ensure_future(batcher.submit("abandoned", 1))
        await asyncio.sleep(0)
        asyncio.get_running_loop().stop()
        await task

    loop = asyncio.new_event_loop()
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(abandoned())
    asyncio.runners._cancel_all_tasks(loop)
    loop.close()
    assert values(asyncio.run(asyncio.wait_for(batcher.submit("next", 2), 20))) == [0, 1]
    batcher.close()


def test_what_was_done_is_counted() -> None:
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


def test_one_request_is_shared_out_among_idle_workers() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        computation.hold()
        # The first call tells the batcher that calls take long enough for others to help.
        slow = await submitted(batcher, "slow", 1)
        await started(computation)
        await asyncio.to_thread(time.sleep, 0.01)
        computation.let_go()
        await slow
        computation.hold()
        task = await submitted(batcher, "a", 32)
        for _ in range(2):
            await started(computation)
        computation.let_go()
        assert values(await task) == list(range(32))

    computation = run(scenario, workers=2, max_batch_size=32)
    assert computation.calls[1:] == [[("a", 0, 16)], [("a", 16, 16)]]


def test_a_cancelled_request_frees_its_place() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        cancelled = await submitted(batcher, "cancelled", 20)
        with pytest.raises(QueueFullError):
            await batcher.submit("late", 5, bulk=True)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert batcher.queued_samples == 0
        late = await submitted(batcher, "late", 5, bulk=True)
        computation.let_go()
        await asyncio.gather(first, late)

    computation = run(scenario, max_queued_samples=20)
    assert "cancelled" not in {work for call in computation.calls for work, _, _ in call}


def test_a_request_that_is_cancelled_halfway_leaves_the_rest_uncomputed() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        computation.hold()
        task = await submitted(batcher, "a", 80)
        await started(computation)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        computation.let_go()
        assert values(await batcher.submit("b", 1)) == [0]

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


def test_a_full_queue_turns_requests_away_and_says_when_to_come_back() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        waiting = await submitted(batcher, "waiting", 18)
        with pytest.raises(QueueFullError, match="18 samples wait already and 3 more would exceed 20") as caught:
            await batcher.submit("too many", 3, bulk=True)
        assert 0 < caught.value.retry_after_s <= 30
        fits = await submitted(batcher, "fits", 2, bulk=True)
        part = await submitted(batcher, "next part of a stream", 8, always_admit=True)
        computation.let_go()
        await asyncio.gather(first, waiting, fits, part)
        assert batcher.statistics.rejected == 1

    run(scenario, max_queued_samples=20)


def test_short_requests_are_turned_away_for_those_only_that_they_cannot_pass() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        admitted = [
            await submitted(batcher, "huge", 1000, priority=Priority.LOW, always_admit=True),
            *[await submitted(batcher, f"low{index}", 5, priority=Priority.LOW) for index in range(4)],
        ]
        with pytest.raises(QueueFullError, match="20 samples wait already and 1 more would exceed 20"):
            await batcher.submit("low", 1, priority=Priority.LOW)
        admitted += [await submitted(batcher, f"normal{index}", 5) for index in range(4)]
        with pytest.raises(QueueFullError, match="20 samples wait already"):
            await batcher.submit("normal", 1)
        admitted.append(await submitted(batcher, "high", 1, priority=Priority.HIGH))
        computation.let_go()
        await asyncio.gather(first, *admitted)
        assert batcher.queued_samples == 0
        assert {pair.short_queued for pair in batcher._lanes._pairs} == {0}

    computation = run(scenario, max_queued_samples=20)
    assert computation.calls[1][0] == ("high", 0, 1)


def test_a_request_larger_than_the_queue_is_served_when_nothing_waits() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        assert values(await batcher.submit("a", 100)) == list(range(100))

    run(scenario, max_queued_samples=20)


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
        assert values(await batcher.submit("later", 2)) == [0, 1]
        assert batcher.queued_samples == 0

    computation = run(scenario)
    assert sum(call[0][0] == "bad" for call in computation.calls) == 1, "the rest of a failed request is dropped"


def test_closing_fails_what_waits_and_finishes_what_runs() -> None:
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
            await batcher.submit("late", 1)

    run(scenario)


def test_many_concurrent_requests_of_all_sizes_come_back_whole() -> None:
    sizes = [1, 2, 7, 8, 9, 30, 100]

    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        async def one(index: int) -> None:
            count = sizes[index % len(sizes)]
            assert values(await batcher.submit("a", count, bulk=index % 5 == 0)) == list(range(count))

        await asyncio.gather(*(one(index) for index in range(500)))

    computation = run(scenario, workers=4, max_queued_samples=10**6)
    assert all(sum(count for _, _, count in call) <= 8 for call in computation.calls)
