"""Joins the waiting requests of one graph into calls of bounded size, and cuts large requests up.

A free worker takes what waits at once: nothing is delayed to wait for company, unless a delay is asked for;
`core.lanes` says which samples it takes. Workers are threads, and each forms its next call by itself, under a lock that
is never held while computing, so that a busy event loop does not leave the engine without work.

A call that is shorter than waking a thread and being woken by it runs on the event loop instead: after the callbacks
that are ready, as long as they bring more, so that requests which come together share it. Where a request stayed alone,
the next few are computed as they come, before it is looked again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic

from ganserve_server.errors import (
    DeadlineExpiredError,
    EngineError,
    QueueFullError,
    RequestError,
    UnavailableError,
)
from ganserve_server.queue.lanes import Lanes, Priority, Slice, Ticket, WorkT
from ganserve_server.queue.statistics import GraphStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ganserve_server.queue.lanes import Arrays

    _Slices = list[tuple[Ticket[WorkT], Slice[WorkT]]]

# Less is not shared out: a call of few samples, or of little time, costs more than the other worker saves.
_MIN_SHARE, _MIN_SHARE_S = 8, 1e-3
# A worker whose calls are shorter takes what came meanwhile itself, sooner than another thread would be awake.
_WORTH_WAKING_S = 0.5e-3
# Waking a worker and being woken by it costs about as much.
INLINE_BELOW_S = 0.2e-3
# A call on the event loop lets what else is ready run for so many rounds after the last request came, and so long at
# most, since gRPC brings requests one by one. A request that stays alone spares the next one that; each further one
# that does spares about twice as many, up to this: who submits one after another then holds the loop for 3 ms at most.
_ROUNDS, _MOST_GATHERING_S, _MOST_SPARED = 16, 5e-3, 15
_SMALL_BYTES = 16 * 2**10
_MIN_RETRY_S, _MAX_RETRY_S = 0.05, 30.0
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """How requests are joined."""

    max_batch_size: int
    """Most samples in one call."""
    max_queued_samples: int
    """A request that finds others waiting, and would make it more than this many samples, is turned away. Short ones
    count those that they cannot pass, others all of them."""
    workers: int
    """Calls at a time."""
    max_small_batch_size: int = 0
    """Instead of max_batch_size for samples of at most 16 KiB, if it is more: they cost a GPU next to nothing."""
    queue_delay_s: float = 0.0
    """How long a free worker waits for a call to become full, from the arrival of the first request that waits."""
    inline_below_s: float = 0.0
    """Graphs run as many samples on the event loop as they compute in less; see `Batcher`. 0: none."""

    def for_samples_of(self, size: int) -> BatchConfig:
        """Return how requests for samples of so many bytes are joined."""
        if size > _SMALL_BYTES or self.max_small_batch_size <= self.max_batch_size:
            return self
        return dataclasses.replace(self, max_batch_size=min(self.max_small_batch_size, self.max_queued_samples))


class Batcher(Generic[WorkT]):
    """The queue of one graph and the threads that work it off."""

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Slice[WorkT]], int], Arrays],
        config: BatchConfig,
        *,
        inline_samples: int = 0,
        prepare: Callable[[int], None] | None = None,
    ) -> None:
        """Start the workers. May block, for `prepare`.

        Args:
            name: For the threads' names and messages.
            run: Computes the samples of some slices, one after the other along the first axis of each array. Called by
                the workers' threads, with the worker's number, and by event loops, with the number after those: no two
                calls with the same number run at once, unless there are several event loops.
            config: Sizes.
            inline_samples: While no more samples wait, they are computed on the event loop. Measured before there is
                work: under load, a thread's call seems to take as long as the event loop keeps it waiting.
            prepare: Called by each worker's thread with its number before its first call, one thread after the other.

        Raises:
            Exception: What `prepare` raised.
        """
        self.statistics = GraphStatistics()
        self._name = name
        self._run = run
        self._config = config
        self._inline_samples = min(inline_samples, config.max_batch_size)
        # Taken by itself, a lock is ten times as quick as through its condition.
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._lanes: Lanes[WorkT] = Lanes()
        self._waits_since = 0.0  # meaningful while something waits
        self._samples_per_s = 0.0
        self._call_s = 0.0
        self._idle = 0
        self._inline_on: asyncio.AbstractEventLoop | None = None  # where the next call on a loop is scheduled
        self._spared = self._to_spare = 0  # requests that are computed there as they come: left of how many
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(index,), name=f"{name}-{index}", daemon=True)
            for index in range(config.workers)
        ]
        self._prepare = prepare
        self._prepared: list[Future[None]] = [Future() for _ in self._threads]
        for thread, prepared in zip(self._threads, self._prepared, strict=True):
            thread.start()
            try:
                prepared.result()
            except BaseException:
                self.close()
                raise
        self._prepare = None  # and what it holds

    @property
    def queued_samples(self) -> int:
        """Samples that wait: accepted, and in no call yet."""
        return self._lanes.queued

    def check_room(self, count: int, *, priority: Priority = Priority.NORMAL) -> None:
        """Look whether a request for so many samples would be admitted now, so that the others cost little.

        Raises:
            QueueFullError: Too many samples wait.
        """
        with self._lock:
            self._check_room(count, bulk=count > self._config.max_batch_size, priority=priority)

    async def submit(
        self,
        work: WorkT,
        count: int,
        *,
        deadline: float | None = None,
        bulk: bool = False,
        always_admit: bool = False,
        priority: Priority = Priority.NORMAL,
    ) -> list[Arrays]:
        """Has a request computed; cancelling this frees its place.

        Args:
            work: What to compute, as `run` understands it.
            count: Samples of it; at least 1.
            deadline: `time.monotonic()` after which work that was not started is dropped.
            bulk: Waits in the bulk lane even if it would fit into one call.
            always_admit: Is admitted to a full queue: the next part of what was admitted before.
            priority: Who goes first.

        Returns:
            The arrays of each part in the order of the samples; together they have `count` samples.

        Raises:
            QueueFullError: Too many samples wait.
            DeadlineExpiredError: The deadline passed before all of it was started.
            EngineError: A call failed.
            UnavailableError: The batcher was closed.
        """
        with self._lock:
            if self._closed:
                raise UnavailableError(f"{self._name} was unloaded: try again")
            bulk = bulk or count > self._config.max_batch_size
            if not always_admit:
                self._check_room(count, bulk=bulk, priority=priority)
            alone = not self._lanes.queued
            if spared := alone and self._spared > 0 and count <= self._inline_samples:
                self._spared -= 1
            else:
                ticket = Ticket(work, count, deadline)
                if alone:
                    self._waits_since = ticket.arrived
                self._lanes.add(ticket, bulk=bulk, priority=priority)
                self._call_for(ticket.loop)
        if spared:
            return [self._run_alone(work, count, deadline)]
        try:
            return await ticket.future
        except asyncio.CancelledError:
            with self._lock:
                self._withdraw(ticket)
            raise

    def _call_for(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has somebody take what waits; the lock is held, and `loop` runs this."""
        if self._config.queue_delay_s:
            self._condition.notify_all()  # also who waits for a full call
        elif min(self._lanes.queued, self._config.max_batch_size) <= self._inline_samples:
            if self._inline_on is not loop:
                self._inline_on = loop
                loop.call_soon(self._gather, loop, 0, _ROUNDS, time.monotonic() + _MOST_GATHERING_S)
        elif self._idle == len(self._threads) or self._helpers():
            self._condition.notify()

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int, rounds: int, end: float) -> None:
        """Run a call on the event loop, once its other callbacks bring no more requests."""
        queued = self._lanes.queued
        if queued != seen:
            rounds = _ROUNDS
        if rounds and queued < self._inline_samples and time.monotonic() < end:
            loop.call_soon(self._gather, loop, queued, rounds - 1, end)
            return
        with self._lock:
            if self._inline_on is loop:
                self._inline_on = None
            slices = [] if self._closed else self._take(self._inline_samples)
        if slices:
            self._compute(slices, len(self._threads), loop)
        with self._lock:
            alone = len(slices) == 1 and not self._lanes.queued
            self._spared = self._to_spare = min(2 * self._to_spare + 1, _MOST_SPARED) if alone else 0
            if self._lanes.queued and not self._closed:
                self._call_for(loop)

    def _run_alone(self, work: WorkT, count: int, deadline: float | None) -> Arrays:
        """Run a call of one request on the event loop, past the lanes."""
        started = time.monotonic()
        if deadline is not None and deadline <= started:
            with self._lock:
                self.statistics.expired += 1
            raise _expired()
        with self._lock:
            self.statistics.queue_s.observe(0.0)
        try:
            arrays = self._run([Slice(work, 0, count)], len(self._threads))
        except Exception as error:  # noqa: BLE001 - as with a worker's call
            failure = self._failure(error)
        else:
            with self._lock:
                self.statistics.requests += 1
                self._count(count, time.monotonic() - started)
            return arrays
        with self._lock:
            self.statistics.failed += 1
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame: a circle that only the garbage collector would end

    def _withdraw(self, ticket: Ticket[WorkT]) -> None:
        """Frees the place of a ticket that nobody waits for any more; the lock is held."""
        if ticket.closed:
            return
        # The transport cancels what has passed its deadline, mostly before a worker comes to look.
        if ticket.deadline is not None and ticket.deadline <= time.monotonic():
            self.statistics.expired += 1
        else:
            self.statistics.cancelled += 1
        self._lanes.close(ticket)

    def close(self) -> None:
        """Fails what waits, finishes the calls that run, and ends the threads. May block for one call."""
        with self._lock:
            self._closed = True
            for ticket in self._lanes.clear():
                self.statistics.failed += 1
                self._fail(ticket, UnavailableError(f"{self._name} was unloaded: try again"))
            self._condition.notify_all()
        for thread in self._threads:
            if thread.ident is not None:  # else it was never started
                thread.join()
        # What computes holds this batcher as well; without the circle its sessions' memory is free at once.
        self._run = _closed

    def _check_room(self, count: int, *, bulk: bool, priority: Priority) -> None:
        """Turn a request away that there is no room for; the lock is held."""
        queued = self._lanes.queued and self._lanes.ahead(bulk=bulk, priority=priority)
        if not queued or queued + count <= self._config.max_queued_samples:
            return
        self.statistics.rejected += 1
        retry_after_s = queued / self._samples_per_s if self._samples_per_s else 1.0
        raise QueueFullError(
            f"{self._name}: {queued} samples wait already and {count} more would exceed "
            f"{self._config.max_queued_samples}: try again later or ask another replica",
            # Two digits are enough, and let many refusals in a row be the same.
            retry_after_s=float(f"{min(max(retry_after_s, _MIN_RETRY_S), _MAX_RETRY_S):.2g}"),
        )

    def _work(self, worker: int) -> None:
        try:
            if self._prepare is not None:
                self._prepare(worker)
        except BaseException as error:  # noqa: BLE001 - who made this batcher is told
            self._prepared[worker].set_exception(error)
            return
        self._prepared[worker].set_result(None)
        while slices := self._next_batch():
            self._compute(slices, worker)

    def _compute(self, batch: _Slices[WorkT], worker: int, here: asyncio.AbstractEventLoop | None = None) -> None:
        """Run a call and delivers what it gives; `here` is the event loop that this runs on, if it does."""
        started = time.monotonic()
        try:
            arrays = self._run([part for _, part in batch], worker)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to these requests; the worker lives on
            self._deliver_failure(batch, error)
        else:
            self._deliver(batch, arrays, time.monotonic() - started, here)

    def _next_batch(self) -> _Slices[WorkT]:
        """Wait for work and takes as much of it as one call may hold; nothing once the batcher is closed."""
        with self._lock:
            while True:
                while not self._lanes:
                    if self._closed:
                        return []
                    self._idle += 1
                    self._condition.wait()
                    self._idle -= 1
                if (delay_s := self._delay_s()) > 0:
                    self._condition.wait(delay_s)
                elif slices := self._take(self._room()):
                    break
            if self._lanes.queued and self._helpers():
                self._condition.notify()
        return slices

    def _take(self, room: int) -> _Slices[WorkT]:
        """Take up to `room` samples, and ends what came too late; the lock is held."""
        now = time.monotonic()
        batch = self._lanes.take(room, now)
        for ticket in batch.expired:
            self.statistics.expired += 1
            self._fail(ticket, _expired())
        for ticket, part in batch.slices:
            if part.start == 0:
                self.statistics.queue_s.observe(now - ticket.arrived)
        return batch.slices

    def _delay_s(self) -> float:
        """Return how long to wait for the next call to become full; the lock is held."""
        if not self._config.queue_delay_s or self._closed or self._lanes.queued >= self._config.max_batch_size:
            return 0.0
        return self._waits_since + self._config.queue_delay_s - time.monotonic()

    def _room(self) -> int:
        """Return how many samples the next call may have; the lock is held."""
        # Idle workers get their shares of what waits, so that one request alone uses all of them.
        share = -(-self._lanes.queued // (1 + self._helpers()))
        least = max(_MIN_SHARE, int(self._samples_per_s / self._config.workers * _MIN_SHARE_S))
        return min(self._config.max_batch_size, max(share, least))

    def _helpers(self) -> int:
        """Return how many idle workers it is worth to wake beside one that runs; the lock is held."""
        return self._idle if self._call_s > _WORTH_WAKING_S else 0

    def _deliver(
        self, batch: _Slices[WorkT], arrays: Arrays, elapsed_s: float, here: asyncio.AbstractEventLoop | None
    ) -> None:
        at = 0
        finished: dict[asyncio.AbstractEventLoop, list[Ticket[WorkT]]] = {}
        alone = len(batch) == 1
        with self._lock:
            for ticket, part in batch:
                end = at + part.count
                ticket.parts[part.start] = arrays if alone else tuple([array[at:end] for array in arrays])
                ticket.done += part.count
                at = end
                if ticket.done == ticket.count and not ticket.closed:
                    ticket.closed = True
                    finished.setdefault(ticket.loop, []).append(ticket)
                    self.statistics.requests += 1
            self._count(at, elapsed_s)
        for loop, tickets in finished.items():
            if loop is here:
                _resolve(tickets)
            else:
                _call_soon(loop, _resolve, tickets)

    def _count(self, samples: int, elapsed_s: float) -> None:
        """Count a call that went well; the lock is held."""
        self.statistics.calls += 1
        self.statistics.samples += samples
        self.statistics.batch_sizes.observe(samples)
        self.statistics.compute_s.observe(elapsed_s)
        rate = samples / max(elapsed_s, 1e-6) * self._config.workers
        weight = 0.1 if self._samples_per_s else 1.0
        self._samples_per_s += (rate - self._samples_per_s) * weight
        self._call_s += (elapsed_s - self._call_s) * weight

    def _failure(self, error: Exception) -> RequestError:
        """Return what the requests of a call that failed are told."""
        if isinstance(error, RequestError):
            return error
        _log.error("%s failed", self._name, exc_info=error)
        failure = EngineError(f"{self._name} failed: {error}")
        failure.__cause__ = error
        return failure

    def _deliver_failure(self, batch: _Slices[WorkT], error: Exception) -> None:
        failure = self._failure(error)
        with self._lock:
            for ticket, _ in batch:
                if not ticket.closed:
                    self.statistics.failed += 1
                    self._fail(ticket, failure)

    def _fail(self, ticket: Ticket[WorkT], error: RequestError) -> None:
        """End a ticket with an error; the lock is held."""
        self._lanes.close(ticket)
        _call_soon(ticket.loop, _reject, ticket, error)


def _expired() -> DeadlineExpiredError:
    return DeadlineExpiredError("the deadline passed in the queue: ask for less, or later")


def _closed(_slices: object, _worker: int) -> Arrays:
    raise UnavailableError("the batcher is closed")


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        # The loop that asked is closed, and nobody waits any more.
        _log.debug("a result came after its event loop was closed")


def _resolve(tickets: Sequence[Ticket[WorkT]]) -> None:
    for ticket in tickets:
        if not ticket.future.done():
            parts = ticket.parts
            ticket.future.set_result(
                [*parts.values()] if len(parts) == 1 else [parts[start] for start in sorted(parts)]
            )


def _reject(ticket: Ticket[WorkT], error: RequestError) -> None:
    if not ticket.future.done():
        ticket.future.set_exception(error)
