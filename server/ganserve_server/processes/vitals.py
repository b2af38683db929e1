"""Read from the kernel for how long a process could have run, so that a busy machine does not make it look hung."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_STOPPED, _DEBUGGED, _UNINTERRUPTIBLE, _RUNNABLE = "T", "t", "D", "R"
_NS = 1e-9
_STATE, _MAJOR_FAULTS = 0, 9  # fields of /proc/PID/stat after the name, which may hold anything


@dataclass(frozen=True, kw_only=True, slots=True)
class Thread:
    """The kernel's counts of a thread."""

    state: str
    """One letter, as in proc(5)."""
    ran_s: float
    """Time on a core."""
    queued_s: float
    """Time in which it waited for a core, up to when it got the last one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vitals:
    """A process at one moment."""

    major_faults: int
    """Pages that were read from a disk."""
    main: Thread
    """The thread of the event loop."""
    threads: dict[int, Thread]
    """All threads, by their ids."""

    @property
    def stopped(self) -> bool:
        """True if a signal has stopped it, such as SIGSTOP."""
        return self.main.state == _STOPPED


def read_vitals(pid: int) -> Vitals | None:
    """Return the vitals of a process; None if it has ended, or the kernel does not tell."""
    folder = Path(f"/proc/{pid}")
    threads = {}
    try:
        for task in (folder / "task").iterdir():
            try:
                threads[int(task.name)] = _thread(task)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
        faults = int(_stat(folder)[_MAJOR_FAULTS])
    except (OSError, ValueError, IndexError):
        return None
    return Vitals(major_faults=faults, main=threads[pid], threads=threads) if pid in threads else None


def own_time_s(before: Vitals, now: Vitals, elapsed_s: float) -> float:
    """Return how much of the time between two moments was the process's own.

    That is the time in which no thread of it waited for a core, no page was read from a disk, and no debugger held it.
    A process that a signal has stopped could have run all the time.
    """
    if now.stopped:
        return elapsed_s if before.stopped else 0.0
    if now.main.state in (_DEBUGGED, _UNINTERRUPTIBLE) or now.major_faults > before.major_faults:
        return 0.0
    queued_s = 0.0
    for number, thread in now.threads.items():
        earlier = before.threads.get(number)
        if earlier is None:
            continue
        queued = thread.queued_s - earlier.queued_s
        if thread.state == _RUNNABLE:  # the kernel counts its wait only once it runs again
            queued = max(queued, elapsed_s - (thread.ran_s - earlier.ran_s))
        queued_s += queued
    return max(0.0, elapsed_s - queued_s)


def _thread(task: Path) -> Thread:
    ran, queued, *_ = (task / "schedstat").read_text().split()
    return Thread(state=_stat(task)[_STATE], ran_s=int(ran) * _NS, queued_s=int(queued) * _NS)


def _stat(folder: Path) -> list[str]:
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
