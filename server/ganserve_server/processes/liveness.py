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
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from ganserve_server.processes.worker_process import WorkerProcess

PATIENCE_S = 30.0
"""Own time in which a process must answer."""
_START_PATIENCE_S = 300.0  # before its first answer: it imports, perhaps from a slow network
_HANGS_S = 5.0
_LOOK_EVERY_S = 2.0


async def watch(workers: Callable[[], Iterable[WorkerProcess]], *, every_s: float = _LOOK_EVERY_S) -> None:
    """End processes that hang, until cancelled."""
    watches: dict[WorkerProcess, Watch] = {}
    while True:
        await asyncio.sleep(every_s)
        watches = {worker: watches.get(worker) or Watch(worker, every_s) for worker in workers()}
        for one in watches.values():
            one.look()


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
        """Ask again if it has answered; else count its own time, and end it if that was too long."""
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
        worker.hangs = self._silent_s >= _HANGS_S
        if vitals is None or worker.killed is not None:
            return
        patient = self._has_answered or vitals.stopped
        if self._silent_s >= (PATIENCE_S if patient else _START_PATIENCE_S):
            why = "was stopped by a signal" if vitals.stopped else "did not answer"
            worker.end(f"{why} for {self._silent_s:.0f} s in which it could have run, and was killed")
