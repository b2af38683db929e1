"""Test short calls that run on the event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pytest

from computation import Computation, run, values
from ganserve_server.errors import (
    DeadlineExpiredError,
    EngineError,
    UnavailableError,
)
from ganserve_server.queue import batcher as batcher_module
from ganserve_server.queue.batcher import Batcher
from ganserve_server.queue.options import QueueOptions


@pytest.fixture(autouse=True)
def _enough_time_to_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rounds of the loop end the gathering: a busy machine may take longer than the usual time for one."""
    monkeypatch.setattr(batcher_module, "_MOST_GATHERING_S", 60.0)


def test_simultaneous_requests_share_a_short_call_on_the_event_loop() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        tasks = [asyncio.ensure_future(batcher.submit(name, 3, QueueOptions())) for name in ("a", "b", "c")]
        assert [values(parts) for parts in await asyncio.gather(*tasks)] == [[0, 1, 2]] * 3
        computation.failing = {"bad"}
        with pytest.raises(EngineError, match="cannot compute"):
            await batcher.submit("bad", 1, QueueOptions())
        with pytest.raises(DeadlineExpiredError):
            await batcher.submit("late", 1, QueueOptions(deadline=time.monotonic() - 1))
        assert values(await batcher.submit("long", 20, QueueOptions())) == list(range(20))

    computation = run(scenario, inline_samples=8)
    assert computation.calls[:2] == [[("a", 0, 3), ("b", 0, 3), ("c", 0, 2)], [("c", 2, 1)]]
    assert set(computation.threads) == {threading.main_thread().name}


def test_requests_that_arrive_one_by_one_share_a_short_call() -> None:
    async def scenario(batcher: Batcher[str], _computation: Computation) -> None:
        tasks = []
        for name in ("a", "b", "c", "d"):
            tasks.append(asyncio.ensure_future(batcher.submit(name, 1, QueueOptions())))
            for _ in range(9):  # rounds of the loop from one to the next
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    computation = run(scenario, inline_samples=8)
    assert computation.calls == [[("a", 0, 1), ("b", 0, 1), ("c", 0, 1), ("d", 0, 1)]]


def test_single_requests_skip_the_wait_for_others_increasingly_often() -> None:
    async def at_once(batcher: Batcher[str]) -> bool:
        task = asyncio.ensure_future(batcher.submit("x", 1, QueueOptions()))
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
        await asyncio.gather(batcher.submit("a", 1, QueueOptions()), batcher.submit("b", 1, QueueOptions()))
        assert not await at_once(batcher)

    computation = run(scenario, inline_samples=8)
    assert [("a", 0, 1), ("b", 0, 1)] in computation.calls


def test_bulk_work_beside_a_short_call_stays_off_the_event_loop() -> None:
    async def scenario(batcher: Batcher[str], _computation: Computation) -> None:
        await asyncio.gather(batcher.submit("short", 1, QueueOptions()), batcher.submit("bulk", 20, QueueOptions()))

    computation = run(scenario, inline_samples=2)
    main = threading.main_thread().name
    on_loop = [call for call, name in zip(computation.calls, computation.threads, strict=True) if name == main]
    assert all(sum(count for *_, count in call) <= 2 for call in on_loop)
    assert sum(count for call in computation.calls for *_, count in call) == 21


def test_single_requests_fail_expire_and_close_like_others() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        await batcher.submit("alone", 1, QueueOptions())
        with pytest.raises(DeadlineExpiredError):
            await batcher.submit("late", 1, QueueOptions(deadline=time.monotonic() - 1))
        computation.failing = {"bad"}
        with pytest.raises(EngineError, match="cannot compute"):
            await batcher.submit("bad", 1, QueueOptions())
        assert values(await batcher.submit("good", 8, QueueOptions())) == list(range(8))
        await asyncio.to_thread(batcher.close)
        with pytest.raises(UnavailableError):
            await batcher.submit("unloaded", 1, QueueOptions())
        done = batcher.statistics
        assert (done.requests, done.expired, done.failed, batcher.queued_samples) == (2, 1, 1, 0)

    run(scenario, inline_samples=8)


def test_a_failed_single_request_leaves_no_reference_cycle() -> None:
    async def failed(batcher: Batcher[str]) -> weakref.ref[EngineError]:
        try:
            await batcher.submit("bad", 1, QueueOptions())
        except EngineError as error:
            return weakref.ref(error)
        raise AssertionError

    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        await batcher.submit("alone", 1, QueueOptions())
        computation.failing = {"bad"}
        gc.disable()
        try:
            assert (await failed(batcher))() is None
        finally:
            gc.enable()

    run(scenario, inline_samples=8)


def test_calls_of_too_many_samples_go_to_the_workers() -> None:
    async def scenario(batcher: Batcher[str], _computation: Computation) -> None:
        for count in (2, 3, 2, 9):
            assert values(await batcher.submit("x", count, QueueOptions())) == list(range(count))

    computation = run(scenario, inline_samples=2)
    main = threading.main_thread().name
    assert computation.threads[:3] == [main, "test-0", main]
    assert main not in computation.threads[3:4]
