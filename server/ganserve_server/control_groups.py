"""Read the limits of CPU time and memory that control groups set: version 1, version 2, and nested groups of both."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

_PROC = Path("/proc/self")
_LimitT = TypeVar("_LimitT", int, float)


def cpu_limit(proc: Path = _PROC) -> float | None:
    """Return the cores that the tightest control group allows, such as 1.5; None: no limit."""
    return min(_limits("cpu", _cores_v1, _cores_v2, proc), default=None)


def memory_limit(proc: Path = _PROC) -> int | None:
    """Return the bytes that the tightest control group allows; None: no limit."""
    return min(_limits("memory", _bytes_v1, _bytes_v2, proc), default=None)


def usable_memory() -> int:
    """Return the bytes that the control groups, or else the machine, allow this process."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, memory_limit() or machine)


def _limits(
    controller: str, v1: Callable[[Path], _LimitT], v2: Callable[[Path], _LimitT], proc: Path
) -> Iterator[_LimitT]:
    """Yield the limit of this process's group and of each group above it."""
    for folder, is_v2 in _groups(controller, proc):
        # The group has no such file, no limit ("max", or -1 in version 1), or vanished.
        with contextlib.suppress(OSError, ValueError):
            yield (v2 if is_v2 else v1)(folder)


def _groups(controller: str, proc: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the folders of this process's groups, each with True for version 2."""
    try:
        memberships = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:  # not Linux
        return
    paths: dict[str, str] = {}  # by controller; "" for version 2
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        is_v2 = kind == "cgroup2"
        if not is_v2 and not (kind == "cgroup" and controller in options.split(",")):
            continue
        group = PurePosixPath(paths.get("" if is_v2 else controller, "/"))
        # Inside a container the mount may begin at the group itself, or show another tree.
        inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
        folder = Path(point) / inside
        yield folder, is_v2
        for parent in list(inside.parents):
            yield Path(point) / parent, is_v2


def _cores_v2(folder: Path) -> float:
    quota, period = (folder / "cpu.max").read_text().split()
    return int(quota) / int(period)


def _cores_v1(folder: Path) -> float:
    quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    if quota <= 0:
        raise ValueError(quota)
    return quota / period


def _bytes_v2(folder: Path) -> int:
    return int((folder / "memory.max").read_text())


def _bytes_v1(folder: Path) -> int:
    return int((folder / "memory.limit_in_bytes").read_text())
