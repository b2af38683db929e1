"""Encode and decode pictures on threads; Pillow releases the GIL meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ganserve_server.engine.parallelism import usable_cores

ResultT = TypeVar("ResultT")

# A slice of pictures takes about as long as one large picture, and long enough to be worth a change of threads.
_SLICE_BYTES, _MOST_ITEMS = 2**18, 64


class PictureThreads:
    """A pool of threads, one for each core, shared by all requests. Threads start with the first work."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or usable_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="pictures")

    async def map(self, function: Callable[[slice], list[ResultT]], count: int, item_bytes: int) -> list[ResultT]:
        """Call a function for slices of `count` items in parallel and return its results in the items' order.

        The function returns one result for each item of its slice; `item_bytes` is an item's approximate size. One
        request queues at most as many slices as there are threads, so that other requests get their turn. Cancelling
        drops the slices that have not started.
        """
        size = min(max(1, _SLICE_BYTES // max(1, item_bytes)), _MOST_ITEMS)
        starts = range(0, count, size)
        results: list[list[ResultT]] = [[]] * len(starts)
        loop, waiting = asyncio.get_running_loop(), iter(enumerate(starts))

        async def work() -> None:
            for index, start in waiting:
                part = slice(start, min(start + size, count))
                results[index] = await loop.run_in_executor(self._pool, function, part)

        if len(starts) == 1:
            await work()
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._threads, len(starts))):
                    group.create_task(work())
        return [result for part in results for result in part]
