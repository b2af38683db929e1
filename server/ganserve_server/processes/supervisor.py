"""Supervise the processes of `ganserve serve --processes N`: start, replace and stop them, and let them agree.

The supervisor answers the HTTP port for all and holds the port of the calls; it serves no calls itself, and does not
import what serves them. `worker` runs the processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ganserve_server.control_groups import usable_memory
from ganserve_server.errors import GanserveServerError, StartupError
from ganserve_server.identity.shared_usage import SharedUsage, make_usage_file
from ganserve_server.processes import liveness
from ganserve_server.processes.agreements import Meetings, OnceTable
from ganserve_server.processes.assignment import Assignment
from ganserve_server.processes.changes import ChangeLog
from ganserve_server.processes.fleet import Fleet
from ganserve_server.processes.orphans import reap_orphans
from ganserve_server.processes.shares import share_of
from ganserve_server.processes.worker_process import WorkerFailedError, WorkerProcess
from ganserve_server.settings import ServerConfig

_STEADY_S = 60.0  # after which a process that ends is replaced at once again
_LONGEST_PAUSE_S = 30.0
_END_GRACE_S = 10.0  # beyond the drain
_MEETING_S = 60.0
_OK, _FAILED = 0, 1
_log = logging.getLogger(__name__)


class Supervisor:
    """The processes of a server, from start to stop."""

    def __init__(self, config: ServerConfig, processes: int, shared_weights: Path | None) -> None:
        """Prepare to run so many processes with the settings, whose ports have their numbers.

        `shared_weights` is the folder of the weights that they share.
        """
        self._shared_weights = shared_weights
        self._config = config
        self._processes = processes
        self._usage_descriptor = make_usage_file(processes)
        self._usage = SharedUsage(self._usage_descriptor, 0)
        self.fleet = Fleet(ChangeLog())
        """The processes that run."""
        self._once = OnceTable()
        self._meetings = Meetings(self.fleet.serving_numbers, 2 * config.poll_s + _MEETING_S)
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = 0

    async def run(self, say: Callable[[str], None]) -> int:
        """Serve until SIGTERM, SIGINT or SIGHUP, and return the exit code; `say` gets the report of the start.

        Raises GanserveServerError if the first process cannot start: the others would fail alike.
        """
        self._handle_signals()
        self._in_background(reap_orphans(self.fleet.pids))
        self._in_background(liveness.watch(self.fleet.workers))
        try:
            first = self._start(0)
            report = await self._unless_stopped(first.report)
            if report is not None:
                others = [self._start(index) for index in range(1, self._processes)]
                for worker in (first, *others):
                    self._in_background(self._keep(worker))
                await self._unless_stopped(asyncio.gather(*(one.report for one in others), return_exceptions=True))
                say(report)
                await self._stop.wait()
            return await self._end()
        except OSError as error:
            raise GanserveServerError(f"--processes {self._processes}: cannot be started: {error.strerror}.") from error
        except WorkerFailedError as error:
            raise (StartupError if error.is_usage else GanserveServerError)(str(error)) from error
        finally:
            self.fleet.kill()
            for task in self._tasks:
                task.cancel()

    def _start(self, index: int) -> WorkerProcess:
        self._started += 1
        config = share_of(self._config, index, self._processes)
        assignment = Assignment(
            config=config,
            index=index,
            processes=self._processes,
            usage_descriptor=self._usage_descriptor,
            shared_weights=self._shared_weights,
            memory_bytes=config.load_memory_mib * 2**20 or usable_memory() // 2,
        )
        answers: dict[str, Callable[..., Any]] = {
            "serving": self.fleet.register,
            "changes": lambda _worker, number: self.fleet.changes.since(number),
            "change_all": self.fleet.change_all,
            "withdraw": lambda _worker, name, version: self.fleet.changes.forget(name, version),
            "once": lambda worker, key: self._once.ask(worker.number, key),
            "tell": lambda worker, key, result: self._once.tell(worker.number, key, result),
            "give_up": lambda worker, key: self._once.give_up(worker.number, key),
            "together": lambda worker, key: self._meetings.wait(worker.number, key),
            "leave": lambda worker, key: self._meetings.leave(worker.number, key),
        }
        worker = WorkerProcess(assignment, self._started, answers)
        self.fleet.add(worker)
        return worker

    async def _keep(self, worker: WorkerProcess) -> None:
        """Replace a process whenever it ends, after longer and longer pauses if it does so soon."""
        failures = 0
        while True:
            await worker.ended.wait()
            self.fleet.remove(worker)
            self._once.forget(worker.number)
            self._meetings.forget(worker.number)
            self._usage.forget(worker.index)
            if self.fleet.stopping:
                return
            since = worker.serving_since
            failures = 1 if since is not None and time.monotonic() - since > _STEADY_S else failures + 1
            pause_s = 0.0 if failures == 1 else min(2.0 ** (failures - 2), _LONGEST_PAUSE_S)
            when = f" in {pause_s:g} s" if pause_s else ""
            level = logging.INFO if worker.was_told_to_stop else logging.ERROR
            _log.log(level, "%s %s; it is replaced%s", worker.name, worker.how_it_ended().rstrip("."), when)
            await self._pause(pause_s)
            replacement = await self._replacement(worker.index)
            if replacement is None:
                return
            worker = replacement
            self.fleet.replaced += 1
            self._in_background(_tell_when_it_serves(worker))

    async def _replacement(self, index: int) -> WorkerProcess | None:
        """Start a process in the place of another one, as soon as the system can; return None if the server stops."""
        while not self.fleet.stopping:
            try:
                return self._start(index)
            except OSError as error:
                again = f"trying again in {_LONGEST_PAUSE_S:g} s"
                _log.error("process %d cannot be started: %s; %s", index + 1, error.strerror, again)
                await self._pause(_LONGEST_PAUSE_S)
        return None

    async def _pause(self, seconds: float) -> None:
        """Wait, but not once the server stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _end(self) -> int:
        """Let all processes drain, and return the exit code."""
        self.fleet.stopping = True
        workers = self.fleet.workers()
        for worker in workers:
            worker.ask("stop")
        timeout_s = self._config.drain_delay_s + self._config.drain_timeout_s + _END_GRACE_S
        try:
            async with asyncio.timeout(timeout_s):
                for worker in workers:
                    await worker.ended.wait()
        except TimeoutError:
            _log.error("processes have not ended after %g s, and are killed", timeout_s)
            return _FAILED
        for worker in workers:
            if worker.process.returncode < 0:  # others have said why
                _log.error("%s %s while it drained", worker.name, worker.how_it_ended())
        return _FAILED if any(worker.process.returncode for worker in workers) else _OK

    def _handle_signals(self) -> None:
        """Stop on the first signal, and end at once on the second."""

        def handle() -> None:
            if self._stop.is_set():
                self.fleet.kill()
                logging.shutdown()
                os._exit(_FAILED)
            self.fleet.stopping = True
            self._stop.set()

        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as `nohup` wants
            numbers.append(signal.SIGHUP)
        for number in numbers:
            asyncio.get_running_loop().add_signal_handler(number, handle)

    async def _unless_stopped(self, future: asyncio.Future[Any]) -> Any:
        """Return a future's result; None if the server is stopped before."""
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((future, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        return future.result() if future.done() else None

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _tell_when_it_serves(worker: WorkerProcess) -> None:
    with contextlib.suppress(WorkerFailedError):
        await asyncio.shield(worker.report)
        _log.info("%s serves", worker.name)
