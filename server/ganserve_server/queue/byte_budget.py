"""Bounds how many bytes many requests hold together: who finds no room waits for it, first come first served."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclasses.dataclass(eq=False, slots=True)
class _Waiter:
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    has_room: bool = False


class Room:
    """So many bytes, for requests of any event loops."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._lock = threading.Lock()
        self._waiting: collections.deque[_Waiter] = collections.deque()

    @contextlib.asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Wait until there is room for `size` bytes, and holds it until the block ends; more than all of it is all."""
        size = min(size, self._size)
        await self._take(size)
        try:
            yield
        finally:
            with self._lock:
                self._give(size)

    async def _take(self, size: int) -> None:
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
                if waiter.has_room:
                    self._give(size)
                else:
                    self._waiting.remove(waiter)
                    self._give(0)  # it may have stood before one that there is room for
            raise

    def _give(self, size: int) -> None:
        """Give room back, and to those who wait for it; the lock is held."""
        self._free += size
        while self._waiting and self._waiting[0].size <= self._free:
            waiter = self._waiting.popleft()
            # Its event loop may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                waiter.loop.call_soon_threadsafe(_tell, waiter)
                waiter.has_room = True
                self._free -= waiter.size


def _tell(waiter: _Waiter) -> None:
    if not waiter.future.done():
        waiter.future.set_result(None)
