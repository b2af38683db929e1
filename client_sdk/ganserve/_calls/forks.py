"""Forks of a process that uses gRPC, in which gRPC cannot be used.

In the fork gRPC's core starts its threads again, and they go on with what was the parent's: the fork crashes, or its
calls never end, the more likely the more was under way (https://github.com/grpc/grpc/issues/32992, 37710; no setting
of GRPC_ENABLE_FORK_SUPPORT mends it). This cannot be seen afterwards, so that each fork is looked at when it begins.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ganserve._errors import GanserveError

# What Linux calls the threads of gRPC's core, whoever in this process uses it: 15 characters of their names.
_THREADS = {"event_engine", "grpc_global_tim", "lifeguard"}
# Longest wait for the core's threads: to end after the last channel was closed, to be back after a fork.
_SETTLE_S = 1.0


class Forks:
    """Looks at the forks of this process, and knows whether it is one itself."""

    def __init__(self) -> None:
        self.inherited = False
        """Whether this process was forked from one that used gRPC."""
        self._closed_at = -_SETTLE_S
        self._in_use = False

    def closed(self) -> None:
        """Note that a client was closed: forks wait until its threads are gone."""
        self._closed_at = time.monotonic()

    def before(self) -> None:
        """Sees, in the parent, whether gRPC is used."""
        _wait_until_core(False, self._closed_at + _SETTLE_S)
        self._in_use = _core_runs()

    def after_in_parent(self) -> None:
        """Sees to it that another fork sees the same: gRPC ends its threads for a fork, and starts them after it."""
        if self._in_use:
            _wait_until_core(True, time.monotonic() + _SETTLE_S)

    def after_in_child(self) -> None:
        """Take over what the parent saw."""
        self.inherited = self.inherited or self._in_use

    def check(self) -> None:
        """Refuses to use gRPC where that can crash.

        Raises:
            GanserveError: This process is a fork of one that used gRPC.
        """
        if self.inherited:
            raise GanserveError(
                f"process {os.getpid()} was forked while its parent used gRPC, which can crash or hang here: start it "
                'with multiprocessing_context="spawn" or "forkserver", or close all clients before the fork'
            )


def _wait_until_core(runs: bool, until: float) -> None:
    while time.monotonic() < until and _core_runs() is not runs:
        time.sleep(0.002)


def _core_runs() -> bool:
    """Whether threads of gRPC's core run in this process."""
    try:
        return any(_name(thread) in _THREADS for thread in Path("/proc/self/task").iterdir())
    except OSError:  # not Linux, where nothing forks unless it is told to
        return False


def _name(thread: Path) -> str:
    try:
        return (thread / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # it has ended
        return ""


forks = Forks()
if sys.platform != "win32":
    os.register_at_fork(before=forks.before, after_in_parent=forks.after_in_parent, after_in_child=forks.after_in_child)
