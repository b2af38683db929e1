"""Give each caller its share of the calls at work and of the memory for requests. Used on one event loop.

A caller is who sends calls: an identity, or else an address.

gRPC lets in one call at a time, in the order of arrival, and each takes a wake-up of its thread. If the loop answered
the calls of one caller meanwhile, as many new ones would arrive as are let in, and those of all others would wait
behind them. So as soon as there are several callers, most calls of each wait until gRPC has let in what has arrived.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from dataclasses import dataclass, field

from ganserve_server.error_text import counted
from ganserve_server.errors import QueueFullError

MOST_AT_WORK = 128
"""Most of a caller's calls with one answer that are worked on at once; the others wait for their turn unread, so that
the event loop is free for other callers. Enough for two full model calls."""
AT_ONCE = 8
"""Calls of a caller beside others that begin to work as soon as they are let in."""
_RETRY_S = 0.5
_GROUP = 32  # turns that a caller beside others gets at once
_CROWDED_S = 10.0  # after a call of another caller
# gRPC needs about the time of reading a request to let in the next call. Turns wait until twice that time brought no
# further call that has to wait, or in the end until 64 calls could have been let in.
_QUIET, _PATIENCE = 2, 64
_LEAST_QUIET_S, _MOST_QUIET_S = 1e-3, 10e-3
_HOLD_QUIET_S, _MOST_HOLD_S = 0.05, 2.0  # before the server stops
_MOST_REMEMBERED = 1024  # callers without calls are kept up to this number, because making one takes microseconds


@dataclass(slots=True, eq=False)
class Caller:
    """Calls and bytes that one caller has in the server now."""

    key: str
    calls: int = 0
    """Running calls."""
    at_work: int = 0
    """Calls that have their turn."""
    reading: int = 0
    """Requests that arrive."""
    streaming: int = 0
    """Messages of streams that arrive; counted only while `large_until` is set."""
    slow: int = 0
    """Those of both that have taken a while."""
    large_until: float = 0.0
    """The time until which its requests arrive one by one, because a large one came."""
    held_bytes: int = 0
    """Memory that its calls hold."""
    waiting: collections.deque[asyncio.Future[None]] = field(default_factory=collections.deque)
    """Calls that wait for their turn."""


class Callers:
    """The callers that have running calls, or had some lately."""

    def __init__(self, most_calls: int) -> None:
        """Let each caller have this many running calls."""
        self.at_once = MOST_AT_WORK
        """Calls of one caller that begin to work as soon as they are let in."""
        self._most_calls = most_calls
        self._callers: dict[str, Caller] = {}
        self._waiting: dict[Caller, None] = {}  # callers whose calls wait, in order
        self._waited = 0  # calls that had to wait, so far
        self._newest: Caller | None = None
        self._crowded_until = 0.0
        self._read_s = _LEAST_QUIET_S / _QUIET
        self._timer: asyncio.TimerHandle | None = None
        self._held = False

    def enter(self, key: str) -> Caller:
        """Count a call and return its caller; raise QueueFullError if it has too many."""
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = Caller(key)
        elif caller.calls >= self._most_calls:
            raise QueueFullError(
                f"{counted(caller.calls, 'call')} of {key} {'runs' if caller.calls == 1 else 'run'} already, the most "
                "for one caller: wait for an answer",
                retry_after_s=_RETRY_S,
            )
        caller.calls += 1
        if caller is not self._newest:
            if self._newest is not None:
                self._crowded_until = time.monotonic() + _CROWDED_S
                self.at_once = AT_ONCE
            self._newest = caller
        return caller

    def forget(self, caller: Caller) -> None:
        """Forget a caller without calls, unless there is room to remember it."""
        if len(self._callers) > _MOST_REMEMBERED:
            del self._callers[caller.key]

    def note_read(self, seconds: float) -> None:
        """Note how long the reading of a request took."""
        self._read_s += (min(seconds, _MOST_QUIET_S) - self._read_s) / 16

    async def turn(self, caller: Caller) -> None:
        """Wait until a call of this caller may work; then call `end_turn`."""
        if caller.at_work < self.at_once and not caller.waiting:
            caller.at_work += 1
            return
        turn = asyncio.get_running_loop().create_future()
        caller.waiting.append(turn)
        self._waited += 1
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

    async def hold(self, most_s: float) -> None:
        """Give no turns until `release`, and wait until gRPC has let in what has arrived, or `most_s` passed."""
        self._held, self.at_once = True, 0
        end, seen = time.monotonic() + min(most_s, _MOST_HOLD_S), -1
        while self._waited != seen and time.monotonic() < end:
            seen = self._waited
            await asyncio.sleep(_HOLD_QUIET_S)

    def release(self) -> None:
        """Give turns again."""
        self._held, self.at_once = False, AT_ONCE
        for caller in list(self._waiting):
            self._schedule(caller)

    def _schedule(self, caller: Caller) -> None:
        """Give turns: at once to a lone caller, else when gRPC has handed over all calls that have arrived."""
        self._waiting[caller] = None
        if self._timer is not None or self._held:
            return
        now = time.monotonic()
        if now >= self._crowded_until:
            self.at_once = MOST_AT_WORK
            self._give(MOST_AT_WORK)
        else:
            self._wait(now + _PATIENCE * self._read_s)

    def _wait(self, end: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(
            max(_LEAST_QUIET_S, _QUIET * self._read_s), self._look, self._waited, end
        )

    def _look(self, seen: int, end: float) -> None:
        """Give turns if no further call came to wait, or patience ends."""
        now = time.monotonic()
        if self._waited != seen and now < end:
            self._wait(end)
            return
        self._timer = None
        if self._held:
            return
        self._give(_GROUP)
        if self._waiting:
            self._wait(now + _PATIENCE * self._read_s)

    def _give(self, most: int) -> None:
        """Give each waiting caller up to `most` turns."""
        for caller in list(self._waiting):
            left = min(most, MOST_AT_WORK - caller.at_work)
            while caller.waiting and left > 0:
                turn = caller.waiting.popleft()
                if not turn.done():
                    caller.at_work += 1
                    left -= 1
                    turn.set_result(None)
            if not caller.waiting or caller.at_work >= MOST_AT_WORK:
                del self._waiting[caller]  # `end_turn` brings it back
