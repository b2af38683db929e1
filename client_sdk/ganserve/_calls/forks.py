"""Refuse to use gRPC in a fork of a process that used it.

In such a fork, gRPC's core starts its threads again, and they continue the parent's work: the fork crashes, or its
calls never end (https://github.com/grpc/grpc/issues/32992, 37710; GRPC_ENABLE_FORK_SUPPORT does not help). The fork
itself cannot tell, so the parent checks before each fork.
"""

import os
import sys
import time
from pathlib import Path

from ganserve._errors import GanserveError

# Linux's names (15 characters) of the threads of gRPC's core, which other libraries in this process may use, too.
_THREADS = {"event_engine", "grpc_global_tim", "lifeguard"}
# Longest wait for the core's threads to end after the last channel was closed, or to return after a fork.
_SETTLE_S = 1.0


class Forks:
    """Knows whether this process was forked from one that used gRPC."""

    def __init__(self) -> None:
        self.inherited = False
        """True if this process was forked from one that used gRPC."""
        self._closed_at = -_SETTLE_S
        self._in_use = False

    def closed(self) -> None:
        """Note that a client was closed: forks then wait for the end of its threads."""
        self._closed_at = time.monotonic()

    def before(self) -> None:
        """Check, in the parent, whether gRPC runs."""
        _wait_until_core(False, self._closed_at + _SETTLE_S)
        self._in_use = _core_runs()

    def after_in_parent(self) -> None:
        """Wait, in the parent, until gRPC has started its threads again, for the next fork's check."""
        if self._in_use:
            _wait_until_core(True, time.monotonic() + _SETTLE_S)

    def after_in_child(self) -> None:
        """Remember, in the fork, what the parent found."""
        self.inherited = self.inherited or self._in_use

    def check(self) -> None:
        """Raise GanserveError in a fork of a process that used gRPC."""
        if self.inherited:
            raise GanserveError(
                f"process {os.getpid()} was forked while its parent used gRPC, which can crash or hang here: start it "
                'with multiprocessing_context="spawn" or "forkserver", or close all clients before the fork'
            )


def _wait_until_core(runs: bool, until: float) -> None:
    while time.monotonic() < until and _core_runs() is not runs:
        time.sleep(0.002)


def _core_runs() -> bool:
    """Return whether threads of gRPC's core run in this process."""
    try:
        return any(_name(thread) in _THREADS for thread in Path("/proc/self/task").iterdir())
    except OSError:  # not Linux; elsewhere Python's processes don't fork by default
        return False


def _name(thread: Path) -> str:
    try:
        return (thread / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # it has ended
        return ""


forks = Forks()
if sys.platform != "win32":
    os.register_at_fork(before=forks.before, after_in_parent=forks.after_in_parent, after_in_child=forks.after_in_child)
