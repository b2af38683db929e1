"""Join the waiting requests of one graph into calls of bounded size, and split large requests.

A free worker takes the waiting samples at once, unless a delay is configured; `lanes` decides which samples it takes.
Workers are threads, and each forms its next call itself, under a lock that is never held during a computation, so that
a busy event loop does not leave the engine idle.

A call that is shorter than waking a thread runs on the event loop instead. It first runs the loop's ready callbacks, as
long as they bring more requests, so that simultaneous requests share a call. After a request that stayed alone, the
next few run at once, without that wait.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic

from ganserve_server.errors import DeadlineExpiredError, EngineError, RequestError, UnavailableError
from ganserve_server.queue.admission import Admission
from ganserve_server.queue.delivery import call_soon, reject, resolve
from ganserve_server.queue.lanes import Arrays, Lanes, Priority, Slice, Ticket, WorkT
from ganserve_server.queue.options import BatchConfig, QueueOptions
from ganserve_server.queue.statistics import GraphStatistics
from ganserve_server.tracing.spans import NO_SPAN, GraphSpans, batch_span

_Batch = list[tuple[Ticket[WorkT], Slice[WorkT]]]

# Smaller shares are not worth it: a call of little time costs more than a second worker saves.
_MIN_SHARE_S = 1e-3
# With less work, a worker takes the next requests itself sooner than another thread would wake up.
_WORTH_WAKING_S = 0.5e-3
# The number of a call that has the machine for itself.
_ALONE = -1
# gRPC brings requests one by one, so a call on the event loop first runs other ready callbacks: this many rounds after
# the last request, and at most this long. A request that stayed alone lets the next one skip that; each further one
# doubles the number, up to this limit, so that a client with one request at a time holds the loop for at most 3 ms.
_ROUNDS, _MOST_GATHERING_S, _MOST_SKIPS = 16, 5e-3, 15
_EXPIRED = "the deadline passed in the queue: request fewer samples, or retry later"
_log = logging.getLogger(__name__)


class Batcher(Generic[WorkT]):
    """The queue of one graph and the threads that compute its requests."""

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Slice[WorkT]], int], Arrays],
        config: BatchConfig,
        *,
        inline_samples: int = 0,
        lone_samples: int = 0,
        prepare: Callable[[int], None] | None = None,
    ) -> None:
        """Start the workers, and wait for `prepare`, whose errors are raised; without it, they start when needed.

        `run` computes the samples of the slices, concatenated along the first axis of each array. Workers' threads call
        it with their number, event loops with the number after those. No two calls with the same number run at once,
        unless there are several event loops.

        Up to `inline_samples` waiting samples are computed on the event loop. That is measured before there is work:
        under load, a thread's call seems to take as long as the event loop keeps it waiting.

        While all workers are idle, up to `lone_samples` samples are computed by one call on all cores, number -1.

        Each worker's thread calls `prepare` with its number before its first call, one thread at a time.
        """
        self.statistics = GraphStatistics()
        self._name = name
        self._run = run
        self._config = config
        self._inline_samples = min(inline_samples, config.max_batch_size)
        self._lone_samples = lone_samples
        # Taking a lock directly is ten times as fast as taking it through its condition.
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._lanes: Lanes[WorkT] = Lanes()
        self._admission = Admission(name, self._lanes, self.statistics, config.max_queued_samples)
        self._waits_since = 0.0  # arrival of the first waiting request
        self._samples_per_s = 0.0
        self._idle = 0
        self._inline_on: asyncio.AbstractEventLoop | None = None  # the loop that the next inline call is scheduled on
        self._skips = self._granted_skips = 0  # requests that run without gathering: left, and granted last
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(index,), name=f"{name}-{index}", daemon=True)
            for index in range(config.workers)
        ]
        self._prepare = prepare
        self._prepared: list[Future[None]] = [Future() for _ in self._threads]
        self._started = prepare is not None
        """False while no thread runs, as in a server with hundreds of models, most of which nobody uses."""
        for thread, prepared in zip(self._threads if self._started else (), self._prepared, strict=False):
            thread.start()
            try:
                prepared.result()
            except BaseException:
                self.close()
                raise
        self._prepare = None  # free its memory

    @property
    def queued_samples(self) -> int:
        """Samples that wait for a call."""
        return self._lanes.queued

    def check_room(self, count: int, *, priority: Priority = Priority.NORMAL, caller: str = "") -> None:
        """Raise QueueFullError if a request of `count` samples would be refused; cheap, for a check before planning."""
        with self._lock:
            bulk = count > self._config.max_batch_size
            self._admission.check(count, self._samples_per_s, bulk=bulk, priority=priority, caller=caller)

    async def submit(self, work: WorkT, count: int, options: QueueOptions) -> list[Arrays]:
        """Compute a request of `count` samples, at least 1, and return the arrays of its parts in order.

        Cancelling frees its place in the queue.

        Raises:
            QueueFullError: Too many samples wait.
            DeadlineExpiredError: The deadline passed before all of the work was started.
            EngineError: A call failed.
            UnavailableError: The batcher was closed.
        """
        spans = GraphSpans.of_running(self._name, count)
        with self._lock:
            if self._closed:
                raise UnavailableError(f"{self._name} was unloaded: try again")
            bulk = options.bulk or count > self._config.max_batch_size
            if not options.always_admit:
                self._admission.check(
                    count, self._samples_per_s, bulk=bulk, priority=options.priority, caller=options.caller
                )
            alone = not self._lanes.queued
            if skips := alone and self._skips > 0 and count <= self._inline_samples:
                self._skips -= 1
            else:
                ticket = Ticket(work, count, options.deadline, spans=spans)
                if alone:
                    self._waits_since = ticket.arrived
                self._lanes.add(ticket, bulk=bulk, priority=options.priority, caller=options.caller)
                self._schedule(ticket.loop)
        if skips:
            with spans or NO_SPAN:
                return [self._run_alone(work, count, options.deadline, spans)]
        try:
            with spans or NO_SPAN:
                return await ticket.future
        except asyncio.CancelledError:
            with self._lock:
                self._withdraw(ticket)
            raise

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Arrange a call for the waiting requests; runs on `loop`, and the caller holds the lock."""
        if self._config.queue_delay_s:
            self._start_threads()
            self._condition.notify_all()  # including workers that wait for a full call
        elif min(self._lanes.queued, self._config.max_batch_size) <= self._inline_samples:
            if self._inline_on is not loop:
                self._inline_on = loop
                loop.call_soon(self._gather, loop, 0, _ROUNDS, time.monotonic() + _MOST_GATHERING_S)
        elif not self._started:
            self._start_threads()
        elif self._idle == len(self._threads) or self._helpers():
            self._condition.notify()

    def _start_threads(self) -> None:
        """Start the workers, unless they run; the caller holds the lock."""
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int, rounds: int, end: float) -> None:
        """Run a call on the event loop once its other callbacks bring no more requests."""
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
            self._skips = self._granted_skips = min(2 * self._granted_skips + 1, _MOST_SKIPS) if alone else 0
            if self._lanes.queued and not self._closed:
                self._schedule(loop)

    def _run_alone(self, work: WorkT, count: int, deadline: float | None, spans: GraphSpans | None) -> Arrays:
        """Run one request on the event loop, without the lanes."""
        started = time.monotonic()
        if deadline is not None and deadline <= started:
            with self._lock:
                self.statistics.expired += 1
            raise DeadlineExpiredError(_EXPIRED)
        with self._lock:
            self.statistics.queue_s.observe(0.0)
        try:
            with batch_span(self._name, [spans] if spans is not None else (), count):
                arrays = self._run([Slice(work, 0, count)], len(self._threads))
        except Exception as error:  # noqa: BLE001 - as in a worker's call
            failure = self._failure(error)
        else:
            with self._lock:
                self.statistics.requests += 1
                self._count(count, time.monotonic() - started, self._config.workers)
            return arrays
        with self._lock:
            self.statistics.failed += 1
        try:
            raise failure
        finally:
            del failure  # break the reference cycle of its traceback and this frame

    def _withdraw(self, ticket: Ticket[WorkT]) -> None:
        """Free the place of a cancelled request; the caller holds the lock."""
        if ticket.closed:
            return
        # The transport cancels expired requests, mostly before a worker sees them.
        if ticket.deadline is not None and ticket.deadline <= time.monotonic():
            self.statistics.expired += 1
        else:
            self.statistics.cancelled += 1
        self._lanes.close(ticket)

    def close(self) -> None:
        """Fail waiting requests, finish running calls and end the threads. May block for one call."""
        with self._lock:
            self._closed = True
            for ticket in self._lanes.clear():
                self.statistics.failed += 1
                self._fail(ticket, UnavailableError(f"{self._name} was unloaded: try again"))
            self._condition.notify_all()
        for thread in self._threads:
            if thread.ident is not None:  # else it never started
                thread.join()
        # Break the reference cycle with the model, so that its sessions' memory is freed at once.
        self._run = _closed

    def _work(self, worker: int) -> None:
        try:
            if self._prepare is not None:
                self._prepare(worker)
        except BaseException as error:  # noqa: BLE001 - `__init__` raises it
            self._prepared[worker].set_exception(error)
            return
        self._prepared[worker].set_result(None)
        while (batch := self._next_batch())[0]:
            slices, alone = batch
            self._compute(slices, _ALONE if alone else worker)

    def _compute(self, batch: _Batch[WorkT], worker: int, here: asyncio.AbstractEventLoop | None = None) -> None:
        """Run a call and deliver its results. `here` is the current event loop, if this runs on one."""
        started = time.monotonic()
        try:
            served = [ticket.spans for ticket, _ in batch if ticket.spans is not None]
            with batch_span(self._name, served, sum(part.count for _, part in batch) if served else 0):
                arrays = self._run([part for _, part in batch], worker)
        except Exception as error:  # noqa: BLE001 - fails these requests; the worker continues
            self._deliver_failure(batch, error)
        else:
            calls = 1 if worker == _ALONE else self._config.workers
            self._deliver(batch, arrays, time.monotonic() - started, calls, here)

    def _next_batch(self) -> tuple[_Batch[WorkT], bool]:
        """Wait for work and take as much as fits into one call; nothing once the batcher is closed.

        Also return True if the call has all cores for itself.
        """
        with self._lock:
            while True:
                while not self._lanes:
                    if self._closed:
                        return [], False
                    self._idle += 1
                    self._condition.wait()
                    self._idle -= 1
                if (delay_s := self._delay_s()) > 0:
                    self._condition.wait(delay_s)
                    continue
                alone = 0 < self._lanes.queued <= self._lone_samples and self._idle == len(self._threads) - 1
                if slices := self._take(self._lone_samples if alone else self._room()):
                    break
            if self._helpers():
                self._condition.notify()
        return slices, alone

    def _take(self, room: int) -> _Batch[WorkT]:
        """Take up to `room` samples and fail expired requests; the caller holds the lock."""
        now = time.monotonic()
        batch = self._lanes.take(room, now)
        for ticket in batch.expired:
            self.statistics.expired += 1
            self._fail(ticket, DeadlineExpiredError(_EXPIRED))
        for ticket, part in batch.slices:
            if part.start == 0:
                self.statistics.queue_s.observe(now - ticket.arrived)
        return batch.slices

    def _delay_s(self) -> float:
        """Return how long to wait for a full call; the caller holds the lock."""
        if not self._config.queue_delay_s or self._closed or self._lanes.queued >= self._config.max_batch_size:
            return 0.0
        return self._waits_since + self._config.queue_delay_s - time.monotonic()

    def _room(self) -> int:
        """Return the most samples of the next call; the caller holds the lock."""
        # Leave idle workers their share of the waiting samples, so that even one request uses all of them.
        share = -(-self._lanes.queued // (1 + self._helpers()))
        least = int(self._samples_per_s / self._config.workers * _MIN_SHARE_S)
        return min(self._config.max_batch_size, max(share, least, 1))

    def _helpers(self) -> int:
        """Return how many idle workers are worth waking beside a running one; the caller holds the lock."""
        waiting_s = self._lanes.queued * self._config.workers / self._samples_per_s if self._samples_per_s else 0.0
        return self._idle if waiting_s > _WORTH_WAKING_S else 0

    def _deliver(
        self,
        batch: _Batch[WorkT],
        arrays: Arrays,
        elapsed_s: float,
        calls: int,
        here: asyncio.AbstractEventLoop | None,
    ) -> None:
        """Deliver the results of a call beside which `calls` - 1 others could run."""
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
            self._count(at, elapsed_s, calls)
        for loop, tickets in finished.items():
            if loop is here:
                resolve(tickets)
            else:
                call_soon(loop, resolve, tickets)

    def _count(self, samples: int, elapsed_s: float, calls: int) -> None:
        """Count a successful call of `calls` at a time; the caller holds the lock."""
        self.statistics.calls += 1
        self.statistics.samples += samples
        self.statistics.batch_sizes.observe(samples)
        self.statistics.compute_s.observe(elapsed_s)
        rate = samples / max(elapsed_s, 1e-6) * calls
        weight = 0.1 if self._samples_per_s else 1.0
        self._samples_per_s += (rate - self._samples_per_s) * weight

    def _failure(self, error: Exception) -> RequestError:
        """Return the error for the requests of a failed call."""
        if isinstance(error, RequestError):
            return error
        _log.error("%s failed", self._name, exc_info=error)
        failure = EngineError(f"{self._name} failed: {error}")
        failure.__cause__ = error
        return failure

    def _deliver_failure(self, batch: _Batch[WorkT], error: Exception) -> None:
        failure = self._failure(error)
        with self._lock:
            for ticket, _ in batch:
                if not ticket.closed:
                    self.statistics.failed += 1
                    self._fail(ticket, failure)

    def _fail(self, ticket: Ticket[WorkT], error: RequestError) -> None:
        """Fail a request; the caller holds the lock."""
        self._lanes.close(ticket)
        call_soon(ticket.loop, reject, ticket, error)


def _closed(_slices: object, _worker: int) -> Arrays:
    raise UnavailableError("the batcher is closed")
