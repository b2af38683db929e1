"""Put load on a server, in closed loops and in open ones.

In a closed loop each caller waits for its answer before it calls again; an open loop makes calls at a given rate. Its
latencies run from the time that a call was due, so a stall of the server counts for every call that it delays
(coordinated omission).
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from ganserve._commands.latencies import Latencies
from ganserve._errors import GanserveError, ServerUnavailable

Arrivals = Literal["poisson", "even"]
"""Spread of an open loop's calls over time: at random, as independent callers do, or at equal distances."""

MOST_IN_FLIGHT = 10_000  # Further calls wait; the wait is part of their latency.
_TICK_S = 0.1
_AFTER_A_REFUSAL_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One level of load."""

    loop: Literal["closed", "open"]
    level: float
    """Closed loop: number of callers. Open loop: calls a second."""
    duration_s: float
    """Length of the measurement."""
    warm_up_s: float
    """Time under the same load before the measurement."""
    arrivals: Arrivals = "poisson"
    """Spread of an open loop's calls over time."""
    seed: int = 0
    """Seed of random arrivals."""


@dataclass(kw_only=True, slots=True)
class Outcome:
    """The figures of a stage."""

    stage: Stage
    calls: int = 0
    """Calls that were due during the measurement."""
    latencies: Latencies = field(default_factory=Latencies)
    """Latencies of answered calls."""
    failures: Counter[str] = field(default_factory=Counter)
    """Number of failed calls, by the error's name."""
    answered_meanwhile: int = 0
    """Answers that came during the measurement, whenever their calls were sent."""
    lateness: Latencies = field(default_factory=Latencies)
    """Delays of an open loop's calls in the load generator. They are part of their latencies."""
    busy: float = 0.0
    """Share of the time that this process's event loop was busy; near 1, the figures describe the load generator."""

    @property
    def calls_per_s(self) -> float:
        """Answered calls per second."""
        return self.answered_meanwhile / self.stage.duration_s


async def run_stage(
    stage: Stage, call: Callable[[], Awaitable[object]], report: Callable[[float, Outcome], None]
) -> Outcome:
    """Put a stage's load on a server.

    `report` gets the seconds since the beginning and the figures so far, ten times a second.
    """
    outcome = Outcome(stage=stage)
    run = _Run(outcome, call, time.perf_counter())
    ticker = asyncio.create_task(_tick(run.started, outcome, report))
    busy_from = time.thread_time()
    try:
        if stage.loop == "closed":
            await asyncio.gather(*(run.caller() for _ in range(round(stage.level))))
        else:
            await run.arrivals()
    finally:
        ticker.cancel()
    outcome.busy = (time.thread_time() - busy_from) / (time.perf_counter() - run.started)
    return outcome


def due_times(stage: Stage) -> Iterator[float]:
    """Yield when an open loop's calls are due, in seconds from its beginning."""
    chance, due, calls = random.Random(stage.seed), 0.0, 0
    while True:
        calls += 1
        due = due + chance.expovariate(stage.level) if stage.arrivals == "poisson" else (calls - 1) / stage.level
        if due >= stage.warm_up_s + stage.duration_s:
            return
        yield due


class _Run:
    """A stage in progress."""

    def __init__(self, outcome: Outcome, call: Callable[[], Awaitable[object]], started: float) -> None:
        self.outcome, self.started = outcome, started
        self._call = call
        self._from = started + outcome.stage.warm_up_s
        self._until = self._from + outcome.stage.duration_s

    async def caller(self) -> None:
        """Make the calls of one closed-loop caller, one after the other."""
        while (now := time.perf_counter()) < self._until:
            await self._make(now)

    async def arrivals(self) -> None:
        """Make the calls of an open loop, each at its time."""
        room = asyncio.Semaphore(MOST_IN_FLIGHT)

        async def make(due: float) -> None:
            try:
                await self._make(due)
            finally:
                room.release()

        async with asyncio.TaskGroup() as calls:
            for seconds in due_times(self.outcome.stage):
                due = self.started + seconds
                # Sleep even when late, so that the answers of other calls are read.
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await room.acquire()
                if due >= self._from:
                    self.outcome.lateness.add(max(0.0, time.perf_counter() - due))
                calls.create_task(make(due))

    async def _make(self, due: float) -> None:
        measured = due >= self._from
        self.outcome.calls += measured
        try:
            await self._call()
        except GanserveError as error:
            if measured:
                self.outcome.failures[type(error).__name__] += 1
            if isinstance(error, ServerUnavailable) and self.outcome.stage.loop == "closed":
                await asyncio.sleep(_AFTER_A_REFUSAL_S)  # A refusal takes no time; do not call in a tight loop.
            return
        now = time.perf_counter()
        if measured:
            self.outcome.latencies.add(now - due)
        self.outcome.answered_meanwhile += self._from <= now < self._until


async def _tick(started: float, outcome: Outcome, report: Callable[[float, Outcome], None]) -> None:
    while True:
        report(time.perf_counter() - started, outcome)
        await asyncio.sleep(_TICK_S)
