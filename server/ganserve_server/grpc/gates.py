"""What may turn a call away before it is handled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from ganserve_server.core.errors import UnavailableError

if TYPE_CHECKING:
    import grpc

    from ganserve_server.monitoring.calls import Call

    Context = grpc.aio.ServicerContext[Any, Any]


_ABOUT_THE_SERVER = frozenset(f"/inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ServerReady"))


class Gate(Protocol):
    """Lets calls in or turns them away. Runs on the event loop for every call, so it is quick and never waits."""

    def enter(self, call: Call, context: Context) -> None:
        """Lets a call in.

        Raises:
            RequestError: Why it is turned away; the client gets its status and message.
        """

    def leave(self, call: Call) -> None:
        """Is told of the end of a call that it let in."""


class DrainGate:
    """Counts the calls that run, and turns new ones away once the server drains."""

    def __init__(self) -> None:
        self.running = 0
        """Calls that were let in and have not ended."""
        self.draining = False
        """Whether calls are turned away."""
        self._idle = asyncio.Event()

    def enter(self, call: Call, context: Context) -> None:  # noqa: ARG002 - as every gate
        """Lets calls in until the server drains, and questions about the server after it, too."""
        if self.draining and call.method not in _ABOUT_THE_SERVER:
            raise UnavailableError("the server is shutting down: ask another replica, or try again soon")
        self.running += 1

    def leave(self, call: Call) -> None:  # noqa: ARG002
        """Counts the call out."""
        self.running -= 1
        if self.draining and not self.running:
            self._idle.set()

    def close(self) -> None:
        """Turns calls away from now on."""
        self.draining = True

    async def drained(self) -> None:
        """Returns once no call runs; the gate is closed before."""
        if self.running:
            await self._idle.wait()
