"""Keep what the processes of a server agree on: who computes a result for all, and when all are ready for a version.

The supervisor has these tables; its threads wait in them for the workers that ask. Workers are named by numbers, which
are never used again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

_MOST_REMEMBERED = 10_000
_CHECK_S = 0.5


@dataclass(slots=True)
class _Task:
    """A result that one worker computes for all."""

    worker: int | None = None
    """The worker that computes it; None: nobody."""
    result: Any = None
    done: bool = False
    given: set[int] = field(default_factory=set)
    """The workers that have it."""


class OnceTable:
    """Results that one worker computes for all."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tasks: dict[Hashable, _Task] = {}

    def ask(self, worker: int, key: Hashable) -> tuple[bool, Any]:
        """Return True and the result, or False if the worker has to compute it and to `tell` it.

        Waits for the worker that computes it. A worker that asks again for a result that it has got computes anew: it
        tries again what failed.
        """
        with self._changed:
            if len(self._tasks) > _MOST_REMEMBERED:
                self._tasks = {key: task for key, task in self._tasks.items() if not task.done}
            while True:
                task = self._tasks.setdefault(key, _Task())
                if task.done and worker in task.given:
                    task = self._tasks[key] = _Task()
                if task.done:
                    task.given.add(worker)
                    return True, task.result
                if task.worker is None:
                    task.worker = worker
                    return False, None
                self._changed.wait()

    def tell(self, worker: int, key: Hashable, result: Any) -> None:
        """Give the others the result that a worker has computed."""
        with self._changed:
            task = self._tasks.get(key)
            if task is not None and task.worker == worker:
                task.result, task.done = result, True
                task.given.add(worker)
                self._changed.notify_all()

    def forget(self, worker: int) -> None:
        """Let another worker compute what this one has not finished: it has ended, or failed."""
        with self._changed:
            for task in self._tasks.values():
                if task.worker == worker and not task.done:
                    task.worker = None
            self._changed.notify_all()

    def give_up(self, worker: int, key: Hashable) -> None:
        """Let another worker compute one result."""
        with self._changed:
            task = self._tasks.get(key)
            if task is not None and task.worker == worker and not task.done:
                task.worker = None
                self._changed.notify_all()


class Meetings:
    """Points at which workers wait until all that serve are ready."""

    def __init__(self, serving: Callable[[], set[int]], timeout_s: float) -> None:
        """Wait for the workers that `serving` returns, no longer than `timeout_s`."""
        self._serving = serving
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._ready: dict[Hashable, set[int]] = {}

    def wait(self, worker: int, key: Hashable) -> bool:
        """Wait until all workers that serve are ready for what a key names; return False after the timeout.

        A worker that does not serve yet does not wait, but counts as ready: it begins to serve with what it has loaded.
        """
        deadline = time.monotonic() + self._timeout_s
        with self._changed:
            self._ready.setdefault(key, set()).add(worker)
            self._changed.notify_all()
            while worker in (serving := self._serving()):
                if serving <= self._ready.get(key, set()):
                    return True
                if time.monotonic() >= deadline:
                    return False
                self._changed.wait(_CHECK_S)  # workers end, too
            return True

    def leave(self, worker: int, key: Hashable) -> None:
        """Note that a worker is not ready any more: it has unloaded what the key names."""
        with self._changed:
            self._remove(worker, key)

    def forget(self, worker: int) -> None:
        """Forget a worker that has ended."""
        with self._changed:
            for key in list(self._ready):
                self._remove(worker, key)
            self._changed.notify_all()

    def _remove(self, worker: int, key: Hashable) -> None:
        ready = self._ready.get(key, set())
        ready.discard(worker)
        if not ready:
            self._ready.pop(key, None)
