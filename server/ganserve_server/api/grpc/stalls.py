"""Read requests in bounded numbers, and cut off clients that stall: half-sent requests, and answers that nobody reads.

gRPC buffers a request while it arrives, up to the largest size. So requests that arrive at once are limited to what
fits into a share of the memory, and a caller's to half of that.

gRPC's Python part copies a request on the event loop, 16 MiB in 3 to 8 ms, and all that have arrived in one go. So a
caller that has lately sent large ones sends one at a time, unless that takes a while. Used on one event loop.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import logging
import time
from typing import TYPE_CHECKING, Any

import grpc

from ganserve_server.api.grpc.peers import ConnectionCutter
from ganserve_server.errors import DeadlineExpiredError, invalid_field
from ganserve_server.monitoring.call_tracking import Call
from ganserve_server.queue.callers import Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from typing import TypeAlias

    _Waiting: TypeAlias = tuple[Caller, asyncio.Future[None], bool]  # the last for a message of a stream

_LOOK_EVERY_S = 0.25
_LARGE_BYTES, _LARGE_S = 2**20, 10.0
_log = logging.getLogger(__name__)


class Stalls:
    """The requests that arrive and the answers that wait to be read."""

    def __init__(self, timeout_s: float, most_reading: int, note_read: Callable[[float], None]) -> None:
        """End what takes longer than `timeout_s`; let this many requests arrive at once.

        `note_read` gets the seconds that the reading of a request took while other calls of its caller waited.
        """
        self._timeout_s = timeout_s
        self._note_read = note_read
        self._slots = most_reading
        self._share = max(1, most_reading // 2)
        self._waiting: collections.deque[_Waiting] = collections.deque()
        # Calls in the order in which they began to wait, and when.
        self._reading: dict[Call, float] = {}
        self._streaming: dict[Call, float] = {}
        self.unread: dict[Call, tuple[float, str]] = {}
        """The calls whose answers wait to be read: since when, and their peers."""
        self._watching: asyncio.TimerHandle | None = None
        self._cutter = ConnectionCutter()
        self.cut_off = 0
        """Clients that were cut off."""

    async def read(self, call: Call, caller: Caller, context: Any) -> bytes:
        """Return the bytes of a call's only request.

        Raises:
            InvalidRequestError: The client sent no request.
            DeadlineExpiredError: The request did not arrive in time.
        """
        if self._slots and self._may_read(caller):
            self._slots -= 1
            caller.reading += 1
        else:
            await self._slot(caller)
        self._reading[call] = began = time.monotonic()
        if self._watching is None:
            self._watch()
        try:
            data = await context.read()
        except asyncio.CancelledError:
            if not call.stalled:
                raise
            raise DeadlineExpiredError(
                f"the request did not arrive within {self._timeout_s:g} s: send it faster, or in smaller parts"
            ) from None
        finally:
            del self._reading[call]
            self._release(call, caller)
        if caller.waiting:
            self._note_read(time.monotonic() - began)
        if data is grpc.aio.EOF:
            raise invalid_field("request", "is missing: the call ended without a message")
        message: bytes = data
        _note_size(message, caller)
        return message

    async def read_next(self, call: Call, requests: AsyncIterator[bytes]) -> bytes | None:
        """Return the next message of a stream; None at its end. It may take any time."""
        caller = call.account.caller
        assert caller is not None, "the call has entered"
        if not caller.large_until:
            message = await anext(requests, None)
        else:
            if self._is_alone(caller):
                caller.streaming += 1
            else:
                await self._slot(caller, streamed=True)
            self._streaming[call] = time.monotonic()
            if self._watching is None:
                self._watch()
            try:
                message = await anext(requests, None)
            finally:
                del self._streaming[call]
                self._release(call, caller, streamed=True)
        if message is not None:
            _note_size(message, caller)
        return message

    def begin_answer(self, call: Call, peer: str) -> None:
        """Note that an answer, or the next message of a stream, waits to be read."""
        self.unread[call] = time.monotonic(), peer
        if self._watching is None:
            self._watch()

    def end_answer(self, call: Call) -> None:
        """Note that it was read, or that the call ended."""
        self.unread.pop(call, None)

    def _may_read(self, caller: Caller) -> bool:
        """Return whether a request of a caller may arrive now, beside those that do."""
        return caller.reading < self._share and self._is_alone(caller)

    def _is_alone(self, caller: Caller) -> bool:
        """Return whether nothing else arrives of a caller that sends large requests; True for others."""
        if not caller.large_until or caller.large_until < time.monotonic():
            return True
        return caller.reading + caller.streaming - caller.slow < 1

    async def _slot(self, caller: Caller, *, streamed: bool = False) -> None:
        slot = asyncio.get_running_loop().create_future()
        self._waiting.append(entry := (caller, slot, streamed))
        try:
            await slot
        except asyncio.CancelledError:
            if slot.cancelled():
                with contextlib.suppress(ValueError):  # it was free at the same time
                    self._waiting.remove(entry)
            else:
                self._release(None, caller, streamed=streamed)
            raise

    def _release(self, call: Call | None, caller: Caller, *, streamed: bool = False) -> None:
        if call is not None and call.slow:
            call.slow = False
            caller.slow -= 1
        if streamed:
            caller.streaming -= 1
        else:
            self._slots += 1
            caller.reading -= 1
        if self._waiting:
            self._let_in()

    def _let_in(self) -> None:
        """Let requests arrive that wait, as far as there are slots; messages of streams need none."""
        for entry in list(self._waiting):
            caller, slot, streamed = entry
            if slot.done():
                continue
            if streamed and self._is_alone(caller):
                caller.streaming += 1
            elif not streamed and self._slots and self._may_read(caller):
                self._slots -= 1
                caller.reading += 1
            else:
                continue
            self._waiting.remove(entry)
            slot.set_result(None)

    def _watch(self) -> None:
        # In a context of its own: log lines of other calls must not carry the id of the call that runs now.
        context = contextvars.Context()
        self._watching = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look, context=context)

    def _look(self) -> None:
        """End what waits for too long."""
        self._watching = None
        now = time.monotonic()
        late = now - self._timeout_s
        for call, since in (*self._reading.items(), *self._streaming.items()):
            if since <= now - _LOOK_EVERY_S and not call.slow and call.account.caller is not None:
                call.slow = True
                call.account.caller.slow += 1
        self._let_in()
        for call, since in self._reading.items():
            if since > late:
                break
            if call.task is not None and not call.stalled:
                call.stalled = True
                self.cut_off += 1
                _log.warning("%s: its request did not arrive within %g s", call.method, self._timeout_s)
                call.task.cancel()
        unread = []
        for call, (since, peer) in self.unread.items():
            if since > late:
                break
            if not call.stalled:
                call.stalled = True
                unread.append((call.method, peer))
        if unread:
            self.cut_off += len(unread)
            # With many connections this takes long.
            asyncio.get_running_loop().run_in_executor(None, self._close, unread)
        if self._reading or self._streaming or self.unread:
            self._watch()

    def _close(self, unread: Sequence[tuple[str, str]]) -> None:
        """Close the connections of calls, by method and peer, whose answers nobody reads, and log each."""
        closed = self._cutter.cut_off({peer for _, peer in unread})
        for method, peer in unread:
            how = "its connection is closed" if peer in closed else "its connection could not be closed"
            _log.warning("%s: %s did not read its answer for %g s; %s", method, peer, self._timeout_s, how)


def _note_size(message: bytes, caller: Caller) -> None:
    if len(message) > _LARGE_BYTES:
        caller.large_until = time.monotonic() + _LARGE_S
