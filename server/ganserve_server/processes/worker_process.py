"""Start one server process of several, and talk to it: the supervisor's side of `worker`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ganserve_server.processes.channel import Channel, send_first

if TYPE_CHECKING:
    from ganserve_server.processes.assignment import Assignment
    from ganserve_server.processes.metrics import Snapshot

_START = "import sys; sys.path[:] = {path!r}; from ganserve_server.processes.worker import main; main()"


class WorkerFailedError(Exception):
    """The process has said why it cannot start."""

    def __init__(self, text: str, *, is_usage: bool) -> None:
        super().__init__(text)
        self.is_usage = is_usage
        """True if the settings are wrong."""


class WorkerProcess:
    """A worker, from its start to its end. Used on the supervisor's event loop."""

    def __init__(self, assignment: Assignment, number: int, answers: dict[str, Callable[..., Any]]) -> None:
        """Start the process.

        Args:
            assignment: What it is to do.
            number: Names the worker; a process that replaces it has another one.
            answers: What answers its questions, called with this object and the question's arguments, on any thread.
        """
        self.index = assignment.index
        self.number = number
        self.serving_since: float | None = None
        """When it began to answer calls."""
        self.report: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Its models and addresses, once it serves; WorkerFailedError if it cannot start."""
        self.ended = asyncio.Event()
        """Set once the process has ended."""
        self.last: Snapshot | None = None
        """Its newest snapshot."""
        self.hangs = False
        """True while its event loop does not answer."""
        self.killed: float | None = None
        """When it was killed because it hung."""
        self.failure = ""
        """Why it cannot start, if it has said so, or why it was killed."""
        self._loop = asyncio.get_running_loop()
        mine, others = socket.socketpair()
        with contextlib.closing(others):
            descriptors = (others.fileno(), assignment.usage_descriptor)
            self.process = subprocess.Popen(  # noqa: S603 - this program
                # The path is this process's. Instrumentation, such as opentelemetry-instrument, begins as it did here.
                [sys.executable, "-P", "-c", _START.format(path=sys.path), str(others.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                pass_fds=descriptors,
                # Ctrl-C is for the supervisor, which passes it on. Not a session of its own: Linux shares the time of a
                # busy machine out by sessions (autogroup), so that each call would wait 4 ms for its process's turn.
                process_group=0,
            )
        threading.Thread(target=self._wait, name=f"worker-{number}", daemon=True).start()
        with contextlib.suppress(OSError):  # it has ended, which `_wait` notices
            send_first(mine, assignment)
        answers = answers | {"failed": self._failed}
        self._channel = Channel(mine, {kind: functools.partial(answers[kind], self) for kind in answers}, lambda: None)

    @property
    def name(self) -> str:
        """The process, in messages."""
        return f"process {self.index + 1} (pid {self.process.pid})"

    def ask(self, kind: str, *arguments: object) -> Future[Any]:
        """Ask the worker; see `Channel.ask`."""
        return self._channel.ask(kind, *arguments)

    def serves(self, report: str) -> None:
        """Note, from any thread, that it answers calls."""
        self.serving_since = time.monotonic()
        self._on_loop(self._settle, report)

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()

    def end(self, why: str) -> None:
        """Kill the process, which hangs."""
        self.failure, self.killed = why, time.monotonic()
        self.kill()

    @property
    def was_told_to_stop(self) -> bool:
        """True if it has ended because a signal told it to stop, and finished its calls."""
        return self.process.returncode == 0 and not self.failure

    def how_it_ended(self) -> str:
        """Return how the process has ended, and why, if that is known."""
        if self.failure:
            return self.failure
        status = self.process.returncode
        if status == 0:
            return "was told to stop and has ended"
        if status > 0:
            return f"ended with exit code {status}"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"was killed by {name}{memory}"

    def _failed(self, _worker: WorkerProcess, is_usage: bool, text: str) -> None:
        self.failure = f"cannot start: {text}"
        self._on_loop(self._settle, WorkerFailedError(text, is_usage=is_usage))

    def _wait(self) -> None:
        self.process.wait()
        self._on_loop(self._end)

    def _end(self) -> None:
        self._channel.close()
        self._settle(WorkerFailedError(f"{self.name} {self.how_it_ended()} while it started", is_usage=False))
        self.ended.set()

    def _settle(self, outcome: str | WorkerFailedError) -> None:
        if self.report.done():
            return
        if isinstance(outcome, str):
            self.report.set_result(outcome)
        else:
            self.report.set_exception(outcome)
            self.report.exception()  # it may be that nobody asks

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the supervisor ends
            self._loop.call_soon_threadsafe(function, *arguments)
