"""Run one server process of several. `worker_process` starts it and talks to it over a channel."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from ganserve_server.allocator import keep_freed_memory
from ganserve_server.engine.choices import CHOICES
from ganserve_server.errors import GanserveServerError, StartupError
from ganserve_server.identity.shared_usage import SharedUsage
from ganserve_server.lifecycle import bind_parts, end_now, first_of, make_server, run_until, start_server, stop_signal
from ganserve_server.models.trial_process import TrialProcesses
from ganserve_server.monitoring.logs import name_process, set_up_logging
from ganserve_server.monitoring.metric_collector import ServerCollector
from ganserve_server.processes.assignment import Assignment
from ganserve_server.processes.changes import Change
from ganserve_server.processes.channel import Channel, ChannelClosedError, receive_first
from ganserve_server.processes.metrics import Snapshot, snapshot_of
from ganserve_server.processes.shared_repository import SharedRepository
from ganserve_server.protection import Protection
from ganserve_server.requests.limits import Limits
from ganserve_server.startup import load, marking_of
from ganserve_server.tracing.export import Tracing

ResultT = TypeVar("ResultT")
_ABANDONED_GRACE_S = 15.0  # beyond the drain, when the supervisor is gone
_FAILED = 1
_log = logging.getLogger(__name__)


def main() -> None:
    """Serve until the supervisor says so or is gone; the first argument is the channel's descriptor."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    assignment: Assignment = receive_first(connection)
    gc.disable()  # as `commands.serve` does
    set_up_logging(assignment.config.log_level, assignment.config.log_format)
    name_process(assignment.index + 1)
    keep_freed_memory(assignment.config.memory_limit_mib)
    worker = Worker(assignment, connection)
    try:
        try:
            import uvloop
        except ImportError:
            asyncio.run(worker.serve())
        else:
            uvloop.run(worker.serve())
    except GanserveServerError as error:
        worker.fail(error)
        end_now(_FAILED)
    except ChannelClosedError:
        end_now(_FAILED)
    end_now(0)


class Worker:
    """A server process that shares its port with others."""

    def __init__(self, assignment: Assignment, connection: socket.socket) -> None:
        self._assignment = assignment
        self._config = assignment.config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = False
        self._caught_up = 0  # number of the last change that this process has made
        self._collector: ServerCollector | None = None
        self._not_ready_because: Callable[[], str] = lambda: "models are being loaded"
        self._repository: SharedRepository | None = None
        self._snapshots = 0
        self._counting = threading.Lock()
        answers: dict[str, Callable[..., Any]] = {
            "stop": self._begin_stop,
            "snapshot": self._snapshot,
            "turn": self._turn,
            "change": self._change,
        }
        CHOICES.share(self.once)
        self._channel = Channel(connection, answers, self._abandoned)
        self._trials = TrialProcesses(
            timeout_s=self._config.load_timeout_s, memory_bytes=assignment.memory_bytes, agreement=self
        )

    async def serve(self) -> None:
        """Load, then open the port, serve and drain: connections come to a port as soon as it is open."""
        config = self._config
        self._loop, self._stop = asyncio.get_running_loop(), stop_signal()
        if self._stopping:
            self._stop.set()
        protection = Protection(config)
        marking = marking_of(config)
        limits = Limits.of(config)
        tracing = Tracing(config.otlp_endpoint, config.otlp_protocol, config.trace_ratio)
        server = make_server(config, limits, protection, tracing, shares_port=True)
        usage = SharedUsage(self._assignment.usage_descriptor, self._assignment.index)
        server.guard.quotas.share(usage.of)
        self._not_ready_because = lambda: server.not_ready_because
        self._collector = ServerCollector(server.calls, lambda: not server.not_ready_because, protection.metrics)
        loading = asyncio.ensure_future(asyncio.to_thread(self._load))
        await first_of(loading, self._stop)
        if not loading.done():
            self._trials.close()
            end_now(0)
        repository, report = loading.result()
        self._collector.follow(repository)
        await asyncio.to_thread(self._catch_up)
        server.bind(config.address)
        others = bind_parts(config, server)
        await start_server(config, server, repository, limits, marking)
        while not await asyncio.wrap_future(self._channel.ask("serving", f"{report}{others}", self._caught_up)):
            await asyncio.to_thread(self._catch_up)
        await run_until(self._stop, config, server, protection, repository, tracing)

    def fail(self, error: GanserveServerError) -> None:
        """Tell the supervisor why this process cannot start."""
        with contextlib.suppress(ChannelClosedError):
            self._channel.ask("failed", isinstance(error, StartupError), str(error)).result()

    def once(self, key: Hashable, compute: Callable[[], ResultT]) -> ResultT:
        """Return the result for a key, which one of the processes computes."""
        key = repr(key)  # the supervisor does not import what its parts are made of
        done, result = self._channel.ask("once", key).result()
        if done:
            given: ResultT = result
            return given
        try:
            computed = compute()
        except BaseException:
            self._channel.ask("give_up", key)
            raise
        self._channel.ask("tell", key, computed)
        return computed

    def together(self, key: Hashable) -> None:
        """Wait until all processes that serve are ready for what the key names, or a timeout."""
        with contextlib.suppress(ChannelClosedError):
            if not self._channel.ask("together", key).result():
                _log.warning("another process is not ready for %s; this one does not wait any longer", key)

    def leave(self, key: Hashable) -> None:
        """Take back, without waiting, that this process is ready for what the key names."""
        self._channel.ask("leave", key)

    def withdraw(self, name: str, version: int) -> None:
        """Let processes that start later forget that a version was loaded or unloaded on request: it is gone."""
        self._channel.ask("withdraw", name, version)

    def until_poll_s(self, poll_s: float) -> float:
        """Return the seconds until the next multiple of `poll_s` on the machine's clock, at which all look."""
        return poll_s - time.monotonic() % poll_s

    def change_all(self, change: Change) -> None:
        """Make a change in all processes, this one included; raise the error of the first that refuses it."""
        self._channel.ask("change_all", change).result()

    def _load(self) -> tuple[SharedRepository, str]:
        if self._assignment.index == 0:
            self._trials.start()

        def make(*arguments: Any, **options: Any) -> SharedRepository:
            return SharedRepository(*arguments, **options, agreement=self, change_all=self.change_all)

        repository, report = load(
            self._config, self._trials, make, self._assignment.processes, self._assignment.shared_weights
        )
        assert isinstance(repository, SharedRepository)
        self._repository = repository
        return repository, report

    def _catch_up(self) -> None:
        """Make the changes that others made on request before this process served."""
        assert self._repository is not None
        self._caught_up, changes = self._channel.ask("changes", self._caught_up).result()
        for change in changes:
            if error := self._repository.make(change):
                _log.warning("%s of %s: %s", change.kind, change.name, error)

    def _begin_stop(self) -> None:
        self._stopping = True
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)

    def _abandoned(self) -> None:
        """Drain and end, since the supervisor is gone; end even if the event loop is stuck."""
        if not self._stopping:
            _log.error("the supervisor is gone: this process ends, too")
        self._begin_stop()
        if self._loop is None or self._not_ready_because() == "models are being loaded":
            os._exit(_FAILED)
        threading.Event().wait(self._config.drain_timeout_s + self._config.drain_delay_s + _ABANDONED_GRACE_S)
        os._exit(_FAILED)

    def _change(self, change: Change) -> Exception | None:
        return None if self._repository is None else self._repository.make(change)

    def _snapshot(self) -> Snapshot:
        """Return the metrics and the health of this process."""
        with self._counting:
            self._snapshots += 1
            return snapshot_of(self._collector, self._not_ready_because(), self._snapshots)

    def _turn(self) -> None:
        """Return once the event loop has run what was due before."""
        turned = threading.Event()
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(turned.set)
            turned.wait()
