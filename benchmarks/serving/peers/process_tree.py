"""Start servers, count what all of their processes use, and end all of them.

Servers such as Ray's start processes that outlive their parents. The harness adopts them (Linux: `subreaper`), so that
all processes of a server are its descendants, and no other one is: it runs one server at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 15.0
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def adopt_orphans() -> None:
    """Make this process the parent of all descendants that lose theirs."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, log: Path, variables: Mapping[str, str], cores: Sequence[int]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server on some cores in a folder, with its output in a file; end all of its processes after the block."""
    with log.open("wb") as output, affinity(cores):
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is the harness's, which ends the server in its own way
        )
    try:
        yield process
    finally:
        with _undisturbed():
            _end(process)


@contextlib.contextmanager
def affinity(cores: Sequence[int]) -> Iterator[None]:
    """Start the processes of the block on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def descendants() -> list[int]:
    """Return the processes that this one has started, and those that they have started, zombies too."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def cpu_seconds() -> float:
    """Return the CPU time of all descendants, and of those of their children that have ended."""
    ticks = 0
    for pid in descendants():
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib() -> tuple[float, int]:
    """Return the memory of all descendants, and how many there are; what they share counts once.

    PSS alone would favour servers whose libraries other programs use, too, as the harness does those of our own.
    """
    own_kib = count = 0
    files_kib: dict[str, int] = {}
    for pid in descendants():
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            own_kib += sum(int(kib) for kib in re.findall(r"^Pss_(?:Anon|Shmem): +(\d+) kB", rollup, re.MULTILINE))
            for file, kib in _file_pages_kib(pid).items():
                files_kib[file] = max(kib, files_kib.get(file, 0))
            count += 1
    return (own_kib + sum(files_kib.values())) / 1024, count


def _file_pages_kib(pid: int) -> dict[str, int]:
    """Return how much of each file a process has in memory, without pages that it has changed."""
    pages: dict[str, int] = {}
    file = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        field, *rest = line.split()
        if field == "Rss:" and file:
            pages[file] = pages.get(file, 0) + int(rest[0])
        elif field == "Anonymous:" and file:
            pages[file] -= int(rest[0])
        elif not field.endswith(":"):  # START-END PERMISSIONS OFFSET DEVICE INODE PATH
            shared = " ".join(rest[4:]).startswith(("/dev/shm/", "/dev/zero", "/memfd:", "/SYSV"))
            file = "" if rest[3] == "0" or shared else f"{rest[2]} {rest[3]}"
    return pages


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: the state is 0, the parent 1, four CPU times 11 to 14."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def end_all() -> None:
    """Kill all descendants; say which ones do not end, because the kernel holds them."""
    deadline = time.monotonic() + _GRACE_S
    with _undisturbed():
        while left := _reaped():  # a killed parent cannot start more, but may have done so just before
            if time.monotonic() > deadline:
                print(f"processes {left} do not end", file=sys.stderr)
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, wait, and kill what is left of its processes."""
    if process.poll() is None:
        process.terminate()
    deadline = time.monotonic() + _GRACE_S
    while _reaped() and time.monotonic() < deadline:
        time.sleep(0.02)
    end_all()
    process.poll()  # so that it knows, too


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore a second Ctrl-C in the block, so that it leaves no process behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reaped() -> list[int]:
    """Reap own and adopted processes that have ended, and return the others."""
    left = []
    for pid in descendants():
        reaped = 0
        with contextlib.suppress(ChildProcessError):  # another process's child
            reaped, _ = os.waitpid(pid, os.WNOHANG)
        if not reaped and Path(f"/proc/{pid}").exists():
            left.append(pid)
    return left
