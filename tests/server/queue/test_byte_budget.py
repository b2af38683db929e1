"""Test a budget of bytes that requests share."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading

import pytest

from ganserve_server.queue.byte_budget import ByteBudget


async def hold(budget: ByteBudget, size: int, until: asyncio.Event, begun: list[int]) -> None:
    async with budget.reserved(size):
        begun.append(size)
        await until.wait()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_requests_without_room_wait_in_order() -> None:
    async def scenario() -> None:
        budget, begun = ByteBudget(10), []
        ends = [asyncio.Event() for _ in range(5)]
        tasks = [
            asyncio.create_task(hold(budget, size, end, begun))
            for size, end in zip((6, 5, 1, 4, 99), ends, strict=True)
        ]
        await turns()
        assert begun == [6], "1 would fit, and does not pass 5, which waits longer"
        async with budget.reserved(0):
            pass
        ends[0].set()
        await turns()
        assert begun == [6, 5, 1, 4]
        for end in ends[1:4]:
            end.set()
        await turns()
        assert begun == [6, 5, 1, 4, 99], "a larger size reserves the whole budget"
        ends[4].set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


def test_a_cancelled_request_lets_the_next_one_pass() -> None:
    async def scenario() -> None:
        budget, begun, end = ByteBudget(10), [], asyncio.Event()
        first = asyncio.create_task(hold(budget, 6, end, begun))
        large = asyncio.create_task(hold(budget, 8, end, begun))
        small = asyncio.create_task(hold(budget, 2, end, begun))
        await turns()
        large.cancel()
        with pytest.raises(asyncio.CancelledError):
            await large
        await turns()
        assert begun == [6, 2]
        small.cancel()
        with pytest.raises(asyncio.CancelledError):
            await small
        end.set()
        await first
        async with asyncio.timeout(60), budget.reserved(10):
            pass

    asyncio.run(scenario())


def test_the_budget_is_never_exceeded() -> None:
    budget, held, most = ByteBudget(100), 0, 0
    lock = threading.Lock()

    async def use(size: int) -> None:
        nonlocal held, most
        async with budget.reserved(size):
            with lock:
                held += size
                most = max(most, held)
            try:
                await asyncio.sleep(0)
            finally:
                with lock:
                    held -= size

    async def many(seed: int) -> None:
        chance = random.Random(seed)
        tasks = [asyncio.create_task(use(chance.randint(1, 60))) for _ in range(300)]
        for task in tasks:
            if chance.random() < 0.3:
                task.cancel()
            if chance.random() < 0.2:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)

    threads = [threading.Thread(target=lambda seed=seed: asyncio.run(many(seed))) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert 60 <= most <= 100
    assert budget._free == 100


def test_a_closed_event_loop_releases_its_bytes() -> None:
    budget = ByteBudget(10)
    other = asyncio.new_event_loop()

    async def wait() -> None:
        async with budget.reserved(5):
            pass

    async def scenario() -> None:
        async with budget.reserved(10):
            waiting = other.create_task(wait())
            other.call_soon(other.stop)
            await asyncio.to_thread(other.run_forever)
            waiting.cancel()
            with contextlib.suppress(RuntimeError):
                other.close()
        async with asyncio.timeout(60), budget.reserved(10):
            pass

    asyncio.run(scenario())
