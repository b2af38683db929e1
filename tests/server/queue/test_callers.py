"""Test the shares of callers: of calls at work, of memory, and of model calls."""

from __future__ import annotations

import asyncio

import pytest

from computation import Computation, behind_a_held_call, run, submitted
from ganserve_server.control_groups import usable_memory
from ganserve_server.errors import QueueFullError
from ganserve_server.queue.batcher import Batcher
from ganserve_server.queue.callers import AT_ONCE, MOST_AT_WORK, Callers
from ganserve_server.queue.lanes import Priority
from ganserve_server.queue.memory_budget import Account, MemoryBudget, memory_limit_bytes

MOST_CALLS = 10


def test_another_caller_waits_for_one_batch_behind_1400_requests() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        flood = [await submitted(batcher, "flood", 1, priority=Priority.HIGH, caller="flooder") for _ in range(1400)]
        other = await submitted(batcher, "other", 1, priority=Priority.LOW, caller="other")
        computation.let_go()
        await asyncio.gather(first, *flood, other)

    computation = run(scenario, max_queued_samples=1500)
    assert "other" in {work for work, _, _ in computation.calls[1]}


def test_callers_get_equal_shares_and_what_others_leave() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        tasks = [await submitted(batcher, name, 16, caller=name) for name in "ab"]
        tasks.append(await submitted(batcher, "c", 1, caller="c"))
        computation.let_go()
        await asyncio.gather(first, *tasks)

    computation = run(scenario)
    shares = [{work: sum(c for w, _, c in call if w == work) for work, _, _ in call} for call in computation.calls[1:]]
    assert shares[0] == {"a": 4, "b": 3, "c": 1}
    assert sum(share.get("a", 0) for share in shares) == sum(share.get("b", 0) for share in shares) == 16


def test_a_full_queue_of_one_caller_admits_another() -> None:
    async def scenario(batcher: Batcher[str], computation: Computation) -> None:
        first = await behind_a_held_call(batcher, computation)
        full = [await submitted(batcher, "full", 8, caller="a") for _ in range(5)]
        batcher.check_room(8, caller="b")
        with pytest.raises(QueueFullError, match="40 samples wait already"):
            batcher.check_room(8, caller="a")
        computation.let_go()
        await asyncio.gather(first, *full)

    run(scenario, max_queued_samples=40)


def test_a_caller_s_calls_beyond_its_turns_wait_in_order_and_others_do_not() -> None:
    async def scenario() -> None:
        callers = Callers(MOST_CALLS)
        many, one = callers.enter("many"), callers.enter("one")
        for _ in range(MOST_AT_WORK):
            await asyncio.wait_for(callers.turn(many), 60)
        waiting = [asyncio.ensure_future(callers.turn(many)) for _ in range(3)]
        await asyncio.wait_for(callers.turn(one), 60)
        assert not any(task.done() for task in waiting)
        waiting[0].cancel()
        callers.end_turn(many)
        await asyncio.wait_for(waiting[1], 60)
        assert not waiting[2].done()
        callers.end_turn(many)
        await asyncio.wait_for(waiting[2], 60)
        for _ in range(MOST_AT_WORK):
            callers.end_turn(many)
        assert many.at_work == 0

    asyncio.run(scenario())


def test_most_calls_beside_another_caller_wait_until_others_are_let_in() -> None:
    async def scenario() -> None:
        callers = Callers(MOST_CALLS)
        many = callers.enter("many")
        for _ in range(MOST_AT_WORK):  # alone
            await asyncio.wait_for(callers.turn(many), 60)
        for _ in range(MOST_AT_WORK):
            callers.end_turn(many)
        one = callers.enter("one")
        turns = [asyncio.ensure_future(callers.turn(many)) for _ in range(MOST_AT_WORK)]
        await asyncio.sleep(0)
        assert [turn.done() for turn in turns] == [True] * AT_ONCE + [False] * (MOST_AT_WORK - AT_ONCE)
        await callers.turn(one)
        assert many.at_work == AT_ONCE
        await asyncio.wait_for(asyncio.gather(*turns), 60)
        assert many.at_work == MOST_AT_WORK

    asyncio.run(scenario())


def test_held_turns_are_given_after_the_release() -> None:
    async def scenario() -> None:
        callers = Callers(MOST_CALLS)
        one = callers.enter("one")
        holding = asyncio.ensure_future(callers.hold(60))
        await asyncio.sleep(0)
        turns = [asyncio.ensure_future(callers.turn(one)) for _ in range(3)]
        await asyncio.wait_for(holding, 60)
        assert not any(turn.done() for turn in turns)
        callers.release()
        await asyncio.wait_for(asyncio.gather(*turns), 60)
        assert one.at_work == 3

    asyncio.run(scenario())


def test_a_caller_has_a_bounded_number_of_calls() -> None:
    callers = Callers(MOST_CALLS)
    for _ in range(MOST_CALLS):
        many = callers.enter("many")
    with pytest.raises(QueueFullError, match=f"{MOST_CALLS} calls of many run already"):
        callers.enter("many")
    callers.enter("other")
    many.calls -= 1
    assert callers.enter("many") is many


def test_a_caller_holds_half_of_what_others_leave() -> None:
    callers, budget = Callers(MOST_CALLS), MemoryBudget(2**40, size=1000)
    accounts = [Account(budget, callers.enter(name)) for name in "aabbcc"][::2]
    for account, most in zip(accounts, (500, 250, 120), strict=True):
        for _ in range(most // 10):
            account.hold(10)
        with pytest.raises(QueueFullError, match="the server has no memory for this request now"):
            account.hold(10)
    assert [account._held for account in accounts] == [500, 250, 120]
    accounts[0].close()
    assert budget.held_bytes == 370
    accounts[1].hold(10)


def test_the_only_call_of_a_caller_may_take_all_that_is_free() -> None:
    callers, budget = Callers(MOST_CALLS), MemoryBudget(2**40, size=1000)
    Account(budget, callers.enter("a")).hold(900)
    with pytest.raises(QueueFullError):
        Account(budget, callers.enter("b")).hold(101)


def test_a_large_request_is_refused_if_the_process_would_exceed_its_limit() -> None:
    budget = MemoryBudget(1, size=2**30)
    with pytest.raises(QueueFullError):
        Account(budget, Callers(MOST_CALLS).enter("a")).hold(2**20)


def test_the_usual_limit_leaves_a_tenth_for_what_is_not_counted() -> None:
    assert memory_limit_bytes() == pytest.approx(0.9 * usable_memory(), abs=1)
