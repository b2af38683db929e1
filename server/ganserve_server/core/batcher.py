"""Joins the waiting requests of one graph into calls of bounded size, and cuts large requests up.

A free worker takes what waits at once: nothing is delayed to wait for company. Requests wait in two lanes. A request
that fits into one call waits in the short lane, first come first served, so that it is not cut without need. A longer
one, or one that is a part of a stream, waits in the bulk lane, whose members take turns. Where both lanes have work, a
quarter of the room goes to the bulk lane and the rest to the short one: a short request passes any number of samples of
bulk work, and bulk work never stands still.

Workers are threads. A worker forms its next call by itself, under a lock that is never held while computing, so that a
busy event loop does not leave the engine without work.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from ganserve_server.core.errors import (
    DeadlineExpiredError,
    EngineError,
    QueueFullError,
    RequestError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.generic], ...]

WorkT = TypeVar("WorkT")

_BULK_SHARE = 0.25
# Less is not shared out: a call of few samples, or of little time, costs more than the other worker saves.
_MIN_SHARE, _MIN_SHARE_S = 8, 1e-3
# A worker whose calls are shorter takes what came meanwhile itself, sooner than another thread would be awake.
_WORTH_WAKING_S = 0.5e-3
_MIN_RETRY_S, _MAX_RETRY_S = 0.05, 30.0
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Slice(Generic[WorkT]):
    """The part of one request that goes into one call."""

    work: WorkT
    start: int
    """First sample, counted within the request."""
    count: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """How requests are joined."""

    max_batch_size: int
    """Most samples in one call."""
    max_queued_samples: int
    """A request that finds others waiting, and would make it more than this many samples, is turned away."""
    workers: int
    """Calls at a time."""


@dataclasses.dataclass(slots=True)
class BatcherStatistics:
    """Counts since the start."""

    calls: int = 0
    samples: int = 0
    expired: int = 0
    rejected: int = 0


class _Ticket(Generic[WorkT]):
    """One request's place in the queue, and what is done of it so far."""

    __slots__ = ("closed", "count", "deadline", "done", "future", "loop", "parts", "taken", "work")

    def __init__(self, work: WorkT, count: int, deadline: float | None) -> None:
        self.work = work
        self.count = count
        self.deadline = deadline
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Arrays]] = self.loop.create_future()
        self.taken = 0
        self.done = 0
        self.closed = False
        self.parts: dict[int, Arrays] = {}


class Batcher(Generic[WorkT]):
    """The queue of one graph and the threads that work it off."""

    def __init__(self, name: str, run: Callable[[Sequence[Slice[WorkT]]], Arrays], config: BatchConfig) -> None:
        """Starts the workers.

        Args:
            name: For the threads' names and messages.
            run: Computes the samples of some slices, one after the other along the first axis of each array. Called by
                the workers' threads.
            config: Sizes.
        """
        self.statistics = BatcherStatistics()
        self._name = name
        self._run = run
        self._config = config
        self._condition = threading.Condition()
        self._short: collections.deque[_Ticket[WorkT]] = collections.deque()
        self._bulk: collections.deque[_Ticket[WorkT]] = collections.deque()
        self._bulk_credit = 0.0
        self._queued = 0
        self._samples_per_s = 0.0
        self._call_s = 0.0
        self._idle = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True) for index in range(config.workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued_samples(self) -> int:
        """Samples that wait: accepted, and in no call yet."""
        return self._queued

    async def submit(
        self, work: WorkT, count: int, *, deadline: float | None = None, bulk: bool = False, always_admit: bool = False
    ) -> list[Arrays]:
        """Has a request computed; cancelling this frees its place.

        Args:
            work: What to compute, as `run` understands it.
            count: Samples of it; at least 1.
            deadline: `time.monotonic()` after which work that was not started is dropped.
            bulk: Waits in the bulk lane even if it would fit into one call.
            always_admit: Is admitted to a full queue: the next part of what was admitted before.

        Returns:
            The arrays of each part in the order of the samples; together they have `count` samples.

        Raises:
            QueueFullError: Too many samples wait.
            DeadlineExpiredError: The deadline passed before all of it was started.
            EngineError: A call failed.
            UnavailableError: The batcher was closed.
        """
        ticket = _Ticket(work, count, deadline)
        with self._condition:
            if self._closed:
                raise UnavailableError(f"{self._name} was unloaded: try again")
            if self._queued and self._queued + count > self._config.max_queued_samples and not always_admit:
                self.statistics.rejected += 1
                raise self._queue_full(count)
            self._queued += count
            (self._bulk if bulk or count > self._config.max_batch_size else self._short).append(ticket)
            if self._idle == len(self._threads) or self._helpers():
                self._condition.notify()
        try:
            return await ticket.future
        except asyncio.CancelledError:
            with self._condition:
                self._close_ticket(ticket)
            raise

    def close(self) -> None:
        """Fails what waits, finishes the calls that run, and ends the threads. May block for one call."""
        with self._condition:
            self._closed = True
            waiting = [ticket for ticket in (*self._short, *self._bulk) if not ticket.closed]
            for ticket in waiting:
                self._fail(ticket, UnavailableError(f"{self._name} was unloaded: try again"))
            self._short.clear()
            self._bulk.clear()
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _queue_full(self, count: int) -> QueueFullError:
        retry_after_s = self._queued / self._samples_per_s if self._samples_per_s else 1.0
        return QueueFullError(
            f"{self._name}: {self._queued} samples wait already and {count} more would exceed "
            f"{self._config.max_queued_samples}: try again later or ask another replica",
            retry_after_s=min(max(retry_after_s, _MIN_RETRY_S), _MAX_RETRY_S),
        )

    def _work(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            try:
                arrays = self._run([part for _, part in batch])
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to these requests; the worker lives on
                self._deliver_failure(batch, error)
            else:
                self._deliver(batch, arrays, time.monotonic() - started)

    def _next_batch(self) -> list[tuple[_Ticket[WorkT], Slice[WorkT]]]:
        """Waits for work and takes as much of it as one call may hold; nothing once the batcher is closed."""
        batch: list[tuple[_Ticket[WorkT], Slice[WorkT]]] = []
        with self._condition:
            while not batch:
                while not self._short and not self._bulk:
                    if self._closed:
                        return []
                    self._idle += 1
                    self._condition.wait()
                    self._idle -= 1
                self._fill(batch)
            if self._queued and self._helpers():
                self._condition.notify()
        return batch

    def _helpers(self) -> int:
        """Returns how many idle workers it is worth to wake beside one that runs; the lock is held."""
        return self._idle if self._call_s > _WORTH_WAKING_S else 0

    def _fill(self, batch: list[tuple[_Ticket[WorkT], Slice[WorkT]]]) -> None:
        # Idle workers get their shares of what waits, so that one request alone uses all of them.
        share = -(-self._queued // (1 + self._helpers()))
        least = max(_MIN_SHARE, int(self._samples_per_s / self._config.workers * _MIN_SHARE_S))
        room = min(self._config.max_batch_size, max(share, least))
        reserved = 0
        if self._short and self._bulk:
            self._bulk_credit += _BULK_SHARE * room
            reserved = int(self._bulk_credit)
            self._bulk_credit -= reserved
        room = self._take(self._short, batch, room - reserved) + reserved
        room = self._take(self._bulk, batch, room)
        self._take(self._short, batch, room)

    def _take(
        self, lane: collections.deque[_Ticket[WorkT]], batch: list[tuple[_Ticket[WorkT], Slice[WorkT]]], room: int
    ) -> int:
        """Moves up to `room` samples from a lane into the batch and returns how much room is left."""
        now = time.monotonic()
        while room and lane:
            ticket = lane.popleft()
            if ticket.closed:
                continue
            if ticket.deadline is not None and ticket.deadline <= now:
                self.statistics.expired += 1
                self._fail(
                    ticket, DeadlineExpiredError("the deadline passed while the request waited: ask for less, or later")
                )
                continue
            count = min(room, ticket.count - ticket.taken)
            batch.append((ticket, Slice(ticket.work, ticket.taken, count)))
            ticket.taken += count
            self._queued -= count
            room -= count
            if ticket.taken < ticket.count:
                # Room is used up. A short request stays the first of its lane, a bulk one has had its turn.
                if lane is self._short:
                    lane.appendleft(ticket)
                else:
                    lane.append(ticket)
        return room

    def _deliver(self, batch: list[tuple[_Ticket[WorkT], Slice[WorkT]]], arrays: Arrays, elapsed_s: float) -> None:
        at = 0
        finished: collections.defaultdict[asyncio.AbstractEventLoop, list[_Ticket[WorkT]]] = collections.defaultdict(
            list
        )
        with self._condition:
            for ticket, part in batch:
                ticket.parts[part.start] = tuple(array[at : at + part.count] for array in arrays)
                ticket.done += part.count
                at += part.count
                if ticket.done == ticket.count and not ticket.closed:
                    ticket.closed = True
                    finished[ticket.loop].append(ticket)
            self.statistics.calls += 1
            self.statistics.samples += at
            rate = at / max(elapsed_s, 1e-6) * self._config.workers
            weight = 0.1 if self._samples_per_s else 1.0
            self._samples_per_s += (rate - self._samples_per_s) * weight
            self._call_s += (elapsed_s - self._call_s) * weight
        for loop, tickets in finished.items():
            _call_soon(loop, _resolve, tickets)

    def _deliver_failure(self, batch: list[tuple[_Ticket[WorkT], Slice[WorkT]]], error: Exception) -> None:
        if not isinstance(error, RequestError):
            _log.error("%s failed", self._name, exc_info=error)
            failure: RequestError = EngineError(f"{self._name} failed: {error}")
            failure.__cause__ = error
        else:
            failure = error
        with self._condition:
            for ticket, _ in batch:
                if not ticket.closed:
                    self._fail(ticket, failure)

    def _fail(self, ticket: _Ticket[WorkT], error: RequestError) -> None:
        """Ends a ticket with an error; the lock is held."""
        self._close_ticket(ticket)
        _call_soon(ticket.loop, _reject, ticket, error)

    def _close_ticket(self, ticket: _Ticket[WorkT]) -> None:
        """Frees a ticket's place in the queue; the lock is held. The lane drops the ticket when it comes to it."""
        if not ticket.closed:
            ticket.closed = True
            self._queued -= ticket.count - ticket.taken


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        # The loop that asked is closed, and nobody waits any more.
        _log.debug("a result came after its event loop was closed")


def _resolve(tickets: Sequence[_Ticket[WorkT]]) -> None:
    for ticket in tickets:
        if not ticket.future.done():
            ticket.future.set_result([ticket.parts[start] for start in sorted(ticket.parts)])


def _reject(ticket: _Ticket[WorkT], error: RequestError) -> None:
    if not ticket.future.done():
        ticket.future.set_exception(error)
