"""Drain the server: let running calls finish, and cut off the rest."""

import asyncio
import contextlib
import logging

from ganserve_server.error_text import counted
from ganserve_server.monitoring.call_tracking import Call, CallStatistics

_LAST_MESSAGE_S = 0.5  # for calls to send why they end
GRACE_S = 0.2  # for gRPC to send the last answers
CUT_OFF = (
    "the server is shutting down and ends this stream here: continue at another replica, with the same seed and the "
    "offset of the next sample"
)
CUT_OFF_UNANSWERED = "the server is shutting down and ends this call unanswered: ask another replica"
NO_MORE_REQUESTS = "the server is shutting down and reads no further requests: continue at another replica"
_log = logging.getLogger(__name__)


class Drain:
    """The state of a server's drain. All methods run on the event loop."""

    __slots__ = ("_idle", "_statistics", "announced", "begun", "cutting", "draining", "unary_calls")

    def __init__(self, statistics: CallStatistics) -> None:
        self._statistics = statistics
        self._idle = asyncio.Event()
        self.announced = False
        """True once the server tells that it will stop."""
        self.draining = False
        """True once the server waits for the end of its calls."""
        self.cutting = False
        """True once running calls are cut off."""
        self.begun = asyncio.Event()
        """Set once streams stop reading requests."""
        self.unary_calls: set[Call] = set()
        """Running calls with one answer."""

    def begin(self) -> None:
        """Read no further requests of streams; requests read before are answered."""
        self.draining = True
        self.begun.set()

    def call_ended(self) -> None:
        """Note the end of a call during the drain."""
        if not self._statistics.running:
            self._idle.set()

    async def finish(self, timeout_s: float) -> int:
        """Let running calls finish within `timeout_s`, then cut them off, and return how many were cut off.

        With a timeout below about a second, streams get half a second more to send the reason.
        """
        patience_s = max(timeout_s - _LAST_MESSAGE_S - GRACE_S, timeout_s / 2)
        await self._wait_until_idle(patience_s)
        running = self._statistics.running
        if running:
            _log.warning("cut off: %s did not finish within %g s", counted(running, "call"), timeout_s)
            self._cut_off()
            await self._wait_until_idle(_LAST_MESSAGE_S)
        return running

    async def _wait_until_idle(self, timeout_s: float) -> None:
        if self._statistics.running:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_s)

    def _cut_off(self) -> None:
        """End running calls with a message: streams after their next message, calls with one answer at once."""
        self.cutting = True
        for call in self.unary_calls:
            assert call.task is not None, "each call runs in its own task"
            call.task.cancel()
