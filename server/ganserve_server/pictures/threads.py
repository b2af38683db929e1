"""Encode and decode pictures on threads; Pillow releases the GIL meanwhile."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ganserve_server.engine.parallelism import usable_cores

ResultT = TypeVar("ResultT")

# A slice of pictures takes about as long as one large picture, and long enough to be worth a change of threads.
_SLICE_BYTES, _MOST_ITEMS = 2**18, 64


class PictureThreads:
    """A pool of threads, one for each core, shared by all requests. Threads start with the first work.

    Callers take turns, so that the pictures of one with many requests do not keep those of others waiting.
    """

    def __init__(self, threads: int | None = None, turns: Turns | None = None, caller: str = "") -> None:
        """Start the pool, or use that of `turns` for the work of a caller."""
        self._threads = threads or usable_cores()
        self._turns = turns or Turns(self._threads)
        self._caller = caller

    def of(self, caller: str) -> PictureThreads:
        """Return the same threads for the work of one caller."""
        return PictureThreads(self._threads, self._turns, caller)

    async def map(self, function: Callable[[slice], list[ResultT]], count: int, item_bytes: int) -> list[ResultT]:
        """Call a function for slices of `count` items in parallel and return its results in the items' order.

        The function returns one result for each item of its slice; `item_bytes` is an item's approximate size. One
        request queues at most as many slices as there are threads, so that other requests get their turn. Cancelling
        drops the slices that have not started.
        """
        size = min(max(1, _SLICE_BYTES // max(1, item_bytes)), _MOST_ITEMS)
        starts = range(0, count, size)
        results: list[list[ResultT]] = [[]] * len(starts)
        waiting = iter(enumerate(starts))

        async def work() -> None:
            for index, start in waiting:
                part = slice(start, min(start + size, count))
                results[index] = await self._turns.run(self._caller, function, part)

        if len(starts) == 1:
            await work()
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._threads, len(starts))):
                    group.create_task(work())
        return [result for part in results for result in part]


@dataclass(slots=True, eq=False)
class _Job:
    function: Callable[[slice], Any]
    part: slice
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class Turns:
    """Threads that take the jobs of callers in turn. Any event loop may use it."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")
        self._free = threads
        self._lock = threading.Lock()
        self._waiting: dict[str, collections.deque[_Job]] = {}  # the caller whose turn it is comes first

    async def run(self, caller: str, function: Callable[[slice], ResultT], part: slice) -> ResultT:
        """Call a function on a thread, in the caller's turn, and return its result."""
        loop = asyncio.get_running_loop()
        job = _Job(function, part, loop, loop.create_future())
        with self._lock:
            self._waiting.setdefault(caller, collections.deque()).append(job)
            self._begin()
        result: ResultT = await job.done
        return result

    def _begin(self) -> None:
        """Let free threads take jobs; the caller holds the lock."""
        while self._free and self._waiting:
            caller = next(iter(self._waiting))
            jobs = self._waiting.pop(caller)
            job = jobs.popleft()
            if jobs:
                self._waiting[caller] = jobs  # behind the others
            if not job.done.cancelled():
                self._free -= 1
                self._pool.submit(self._do, job)

    def _do(self, job: _Job) -> None:
        result, error = None, None
        try:
            if not job.done.cancelled():
                result = job.function(job.part)
        except BaseException as raised:  # noqa: BLE001 - for whoever waits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            job.loop.call_soon_threadsafe(_settle, job.done, result, error)
        with self._lock:
            self._free += 1
            self._begin()


def _settle(done: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
