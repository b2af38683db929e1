"""End server processes whose event loops hang: stopped, in an endless loop, or waiting for what never comes.

The supervisor asks each process for a turn of its event loop. Only a process's own time counts against it (`vitals`):
on a busy machine a hang is found later, and nothing that still works is ended.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from ganserve_server.processes.vitals import Vitals, own_time_s, read_vitals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future

    from ganserve_server.processes.worker_process import WorkerProcess

PATIENCE_S = 30.0
"""Own time in which a process must answer."""
_START_PATIENCE_S = 300.0  # before it serves: it imports, perhaps from a slow network
_HANGS_S = 5.0
_LOOK_EVERY_S = 2.0


async def watch(workers: Callable[[], Iterable[WorkerProcess]], *, every_s: float = _LOOK_EVERY_S) -> None:
    """End processes that hang, until cancelled."""
    watches: dict[WorkerProcess, Watch] = {}
    while True:
        await asyncio.sleep(every_s)
        watches = {worker: watches.get(worker) or Watch(worker, every_s) for worker in workers()}
        look_at(list(watches.values()))


def look_at(watches: Sequence[Watch]) -> None:
    """Ask the processes, and end one that hangs.

    One at a time, a stopped one first: others may wait for a lock that it holds, and get time to answer without it.
    """
    for one in watches:
        one.look()
    hung = max(watches, key=Watch.urgency, default=None)
    if hung is not None and any(hung.urgency()):
        hung.end()
        for one in watches:
            one.begin_again()


class Watch:
    """One process, and for how long it has not answered."""

    def __init__(self, worker: WorkerProcess, every_s: float) -> None:
        """Watch a process; `look` is called every `every_s` seconds."""
        self._worker = worker
        self._every_s = every_s
        self._asked: Future[Any] | None = None
        self._before: Vitals | None = None
        self._looked = 0.0
        self._silent_s = 0.0
        self._has_answered = False

    def look(self) -> None:
        """Ask again if it has answered; else count its own time."""
        worker = self._worker
        if self._asked is None or self._asked.done():
            self._has_answered = self._has_answered or self._asked is not None
            self._asked = worker.ask("turn")
            self._before, self._silent_s, worker.hangs = None, 0.0, False
            return
        now, vitals = time.monotonic(), read_vitals(worker.process.pid)
        if vitals is not None and self._before is not None:
            # If this process was late itself, for instance because all were frozen, that is not the other's fault.
            self._silent_s += own_time_s(self._before, vitals, min(now - self._looked, self._every_s))
        self._looked, self._before = now, vitals
        worker.hangs = worker.hangs or self._silent_s >= _HANGS_S

    def urgency(self) -> tuple[bool, float]:
        """Return whether it is stopped, and for how long it has not answered; nothing if it is not to be ended."""
        vitals, patience_s = self._before, PATIENCE_S
        if vitals is None or self._worker.killed is not None:
            return False, 0.0
        if not (self._has_answered or vitals.stopped or self._worker.serving_since is not None):
            patience_s = _START_PATIENCE_S
        return (vitals.stopped, self._silent_s) if self._silent_s >= patience_s else (False, 0.0)

    def end(self) -> None:
        """End the process."""
        stopped, silent_s = self.urgency()
        why = "was stopped by a signal" if stopped else "did not answer"
        self._worker.end(f"{why} for {silent_s:.0f} s in which it could have run, and was killed")

    def begin_again(self) -> None:
        """Forget how long it has not answered."""
        self._silent_s = 0.0
