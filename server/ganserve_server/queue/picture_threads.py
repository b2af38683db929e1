"""Threads for work on pictures. Pillow releases the GIL while it encodes and decodes."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from ganserve_server.engine.providers import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")

# One slice keeps a thread no longer than a large picture does, and is worth the way to it.
_SLICE_BYTES, _MOST_ITEMS = 2**18, 64


class Workers:
    """A pool of threads, one a core, that many requests share. Starts none before it has work."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or usable_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="pictures")

    async def map(self, function: Callable[[slice], list[ResultT]], count: int, item_bytes: int) -> list[ResultT]:
        """Call a function for slices of some items, in parallel, and returns its results in the items' order.

        A request has no more slices in the queue than there are threads, so that others come in between; cancelling
        this leaves undone what was not begun.

        Args:
            function: Returns one result for each item of a slice.
            count: How many items.
            item_bytes: About how large one is.
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
