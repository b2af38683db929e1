"""Hold the processes of a server that run, and do something in all of them. Any thread may use it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from concurrent.futures import TimeoutError as LateError
from typing import TYPE_CHECKING

from ganserve_server.processes.changes import Change, ChangeLog
from ganserve_server.processes.channel import ChannelClosedError

if TYPE_CHECKING:
    from ganserve_server.processes.metrics import Snapshot
    from ganserve_server.processes.worker_process import WorkerProcess

_SNAPSHOT_S = 5.0
_KILL_S = 10.0  # a process that takes longer to end waits for a device or a disk that does not answer


class Fleet:
    """The processes that run: those that start, and those that serve."""

    def __init__(self, changes: ChangeLog) -> None:
        self.changes = changes
        """The changes of models on request."""
        self.stopping = False
        """True once the server stops."""
        self.replaced = 0
        """Processes that ended early and were replaced."""
        self._lock = threading.Lock()
        self._workers: list[WorkerProcess] = []
        self._changing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._dead: list[Snapshot] = []

    def add(self, worker: WorkerProcess) -> None:
        """Add a process that starts."""
        with self._lock:
            self._workers = [*self._workers, worker]

    def remove(self, worker: WorkerProcess) -> None:
        """Remove a process that has ended, and keep its last counts."""
        with self._lock:
            self._workers = [other for other in self._workers if other is not worker]
            if worker.last is not None:
                self._dead.append(worker.last)

    def counts(self) -> tuple[list[Snapshot], list[Snapshot]]:
        """Return the newest snapshots of processes that serve, and the last ones of those that have ended.

        The latter are returned only once. A process is never in both.
        """
        with self._lock:
            running = [worker.last for worker in self.serving() if worker.last is not None]
            dead, self._dead = self._dead, []
        return running, dead

    def workers(self) -> list[WorkerProcess]:
        """Return the processes that have not ended."""
        return self._workers

    def serving(self) -> list[WorkerProcess]:
        """Return the processes that answer calls."""
        return [worker for worker in self._workers if worker.serving_since is not None]

    def serving_numbers(self) -> set[int]:
        """Return the numbers of the processes that answer calls."""
        return {worker.number for worker in self.serving()}

    def pids(self) -> set[int]:
        """Return the ids of the processes."""
        return {worker.process.pid for worker in self._workers}

    def kill(self) -> None:
        """End all processes at once."""
        for worker in self._workers:
            worker.kill()

    def register(self, worker: WorkerProcess, report: str, caught_up: int) -> bool:
        """Count a process as serving; return False if there are changes that it has not made yet."""
        with self.changes.lock:
            if self.changes.since(caught_up)[1]:
                return False
            worker.serves(report)
            return True

    def change_all(self, worker: WorkerProcess, change: Change) -> None:
        """Make a change in all processes that serve and in the one that asks; raise the first error.

        Changes of one model are made one after the other, so that all processes make them in the same order.
        """
        with self._changing[change.name]:
            with self.changes.lock:  # from here on, processes that start make it by themselves
                before = self.changes.add(change)
                targets = dict.fromkeys([*self.serving(), worker])
            asked = [(target, target.ask("change", change)) for target in targets]
            errors = []
            for target, answer in asked:
                try:
                    error = answer.result()
                except ChannelClosedError:  # it has ended, and the next one makes the change
                    continue
                if error is not None:
                    errors.append((target, error))
            if not errors:
                return
            if len(errors) == len(asked):
                self.changes.remove(change, before)
                raise errors[0][1]
            target, error = errors[0]
            raise type(error)(f"{target.name}: {error}")

    def snapshots(self) -> list[Snapshot]:
        """Return what each process that serves says now, or said last if it does not answer."""
        serving = self.serving()
        asked = [(worker, worker.ask("snapshot")) for worker in serving if not worker.hangs]
        for worker, answer in asked:
            try:
                snapshot = answer.result(_SNAPSHOT_S)
            except (ChannelClosedError, LateError):
                continue  # it has ended, or hangs
            with self._lock:
                if worker.last is None or worker.last.number < snapshot.number:  # others ask, too
                    worker.last = snapshot
        return [worker.last for worker in serving if worker.last is not None]

    def not_ready_because(self) -> str:
        """Return why no process answers calls; empty if one does."""
        if self.stopping:
            return "the server is shutting down"
        serving = self.serving()
        if any(worker.last is None and not worker.hangs for worker in serving):
            self.snapshots()
        if serving and all(worker.hangs for worker in serving):
            return "no process answers"
        # Not new ones: readiness must not wait for a process that hangs beside others that answer.
        answering = [worker.last for worker in serving if not worker.hangs]
        reasons = {last.not_ready_because for last in answering if last is not None}
        if "" in reasons:
            return ""
        return min(reasons, default="models are being loaded")

    def are_alive(self) -> bool:
        """Return whether a process answers, and hung ones can be replaced.

        One that hangs beside others is not a reason to restart the server: it is replaced.
        """
        now = time.monotonic()
        if any(worker.killed is not None and now - worker.killed > _KILL_S for worker in self._workers):
            return False
        serving = self.serving()
        return not serving or not all(worker.hangs for worker in serving)

    def providers(self) -> list[str]:
        """Return the execution providers that run models, without repetitions."""
        workers = [worker.last for worker in self.serving()]
        return sorted({name for last in workers if last is not None for name in last.providers})
