"""Give each caller its share of the calls at work and of the memory for requests. Used on one event loop.

A caller is who sends calls: an identity, or else an address.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from dataclasses import dataclass, field

from ganserve_server.errors import QueueFullError

MOST_CALLS = 4096
"""Most running calls of one caller."""
MOST_AT_WORK = 128
"""Most of a caller's calls with one answer that are worked on at once; the others wait for their turn unread, so that
the event loop is free for other callers. Enough for two full model calls."""
_RETRY_S = 0.5
_MOST_REMEMBERED = 1024  # callers without calls are kept up to this number, because making one takes microseconds


@dataclass(slots=True, eq=False)
class Caller:
    """What one caller has in the server now."""

    key: str
    calls: int = 0
    """Running calls."""
    at_work: int = 0
    """Calls that have their turn."""
    reading: int = 0
    """Requests that arrive."""
    held_bytes: int = 0
    """Memory that its calls hold."""
    waiting: collections.deque[asyncio.Future[None]] = field(default_factory=collections.deque)
    """Calls that wait for their turn."""


class Callers:
    """The callers that have running calls, or had some lately."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}

    def enter(self, key: str) -> Caller:
        """Count a call and return its caller; raise QueueFullError if it has too many."""
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = Caller(key)
        elif caller.calls >= MOST_CALLS:
            raise QueueFullError(
                f"{caller.calls} calls of {key} run already, the most for one caller: wait for their answers",
                retry_after_s=_RETRY_S,
            )
        caller.calls += 1
        return caller

    def leave(self, caller: Caller) -> None:
        """Count the end of a call."""
        caller.calls -= 1
        if not caller.calls and len(self._callers) > _MOST_REMEMBERED:
            del self._callers[caller.key]

    async def turn(self, caller: Caller) -> None:
        """Wait until a call of this caller may work; then call `end_turn`."""
        if caller.at_work < MOST_AT_WORK:
            caller.at_work += 1
            return
        turn = asyncio.get_running_loop().create_future()
        caller.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):  # its turn came at the same time
                    caller.waiting.remove(turn)
            else:
                self.end_turn(caller)
            raise

    def end_turn(self, caller: Caller) -> None:
        """Give the turn to the caller's next call."""
        while caller.waiting:
            turn = caller.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        caller.at_work -= 1
