"""Limit the bytes that several requests hold together; requests wait for free bytes in order of arrival."""

import asyncio
import collections
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class _Waiter:
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    admitted: bool = False


class ByteBudget:
    """A number of bytes that requests on any event loop share."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._lock = threading.Lock()
        self._waiting: collections.deque[_Waiter] = collections.deque()

    @contextlib.asynccontextmanager
    async def reserved(self, size: int) -> AsyncIterator[None]:
        """Wait for `size` free bytes and reserve them until the block ends. A larger size reserves the whole budget."""
        size = min(size, self._size)
        await self._reserve(size)
        try:
            yield
        finally:
            with self._lock:
                self._release(size)

    async def _reserve(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if not size or (not self._waiting and size <= self._free):
                self._free -= size
                return
            waiter = _Waiter(size, loop, loop.create_future())
            self._waiting.append(waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            with self._lock:
                if waiter.admitted:
                    self._release(size)
                else:
                    self._waiting.remove(waiter)
                    self._release(0)  # the next one may fit now
            raise

    def _release(self, size: int) -> None:
        """Return bytes to the budget and admit waiting requests; the caller holds the lock."""
        self._free += size
        while self._waiting and self._waiting[0].size <= self._free:
            waiter = self._waiting.popleft()
            # Its event loop may have closed meanwhile.
            with contextlib.suppress(RuntimeError):
                waiter.loop.call_soon_threadsafe(_wake, waiter)
                waiter.admitted = True
                self._free -= waiter.size


def _wake(waiter: _Waiter) -> None:
    if not waiter.future.done():
        waiter.future.set_result(None)
