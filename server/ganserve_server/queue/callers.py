"""Give each caller its share of the calls at work and of the memory for requests. Used on one event loop.

A caller is who sends calls: an identity, or else an address.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from dataclasses import dataclass, field

from ganserve_server.errors import QueueFullError

MOST_CALLS = 4096
"""Most running calls of one caller."""
MOST_AT_WORK = 128
"""Most of a caller's calls with one answer that are worked on at once; the others wait for their turn unread, so that
the event loop is free for other callers. Enough for two full model calls."""
_RETRY_S = 0.5
# gRPC lets in one call in about three rounds of the event loop, in the order of arrival. If the loop worked meanwhile,
# the calls of one caller would keep those of all others outside. So a turn waits until this many rounds let in no call.
_ROUNDS, _MOST_PATIENCE_S = 8, 0.1
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
        self._waiting: dict[Caller, None] = {}  # callers whose calls wait, in order
        self._entered = 0
        self._scheduled = False

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
        self._entered += 1
        return caller

    def leave(self, caller: Caller) -> None:
        """Count the end of a call."""
        caller.calls -= 1
        if not caller.calls and len(self._callers) > _MOST_REMEMBERED:
            del self._callers[caller.key]

    async def turn(self, caller: Caller) -> None:
        """Wait until a call of this caller may work; then call `end_turn`."""
        if caller.at_work < MOST_AT_WORK and not caller.waiting:
            caller.at_work += 1
            return
        turn = asyncio.get_running_loop().create_future()
        caller.waiting.append(turn)
        self._schedule(caller)
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
        """Let the caller's next call work."""
        caller.at_work -= 1
        if caller.waiting:
            self._schedule(caller)

    def _schedule(self, caller: Caller) -> None:
        """Give turns once the loop has let in the calls that have arrived."""
        self._waiting[caller] = None
        if not self._scheduled:
            self._scheduled = True
            self._give(self._entered, _ROUNDS, time.monotonic() + _MOST_PATIENCE_S)

    def _give(self, seen: int, rounds: int, end: float) -> None:
        if self._entered != seen:
            rounds = _ROUNDS
        if rounds and time.monotonic() < end:
            asyncio.get_running_loop().call_soon(self._give, self._entered, rounds - 1, end)
            return
        self._scheduled = False
        for caller in list(self._waiting):
            while caller.waiting and caller.at_work < MOST_AT_WORK:
                turn = caller.waiting.popleft()
                if not turn.done():
                    caller.at_work += 1
                    turn.set_result(None)
            if not caller.waiting:
                del self._waiting[caller]
