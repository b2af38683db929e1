"""Test that limits of control groups are found: version 1, version 2, nested ones, and those of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ganserve_server.control_groups import cpu_limit, memory_limit

if TYPE_CHECKING:
    from pathlib import Path


def process(folder: Path, memberships: str, *mounts: str) -> Path:
    """Write a process's view of its groups; each mount is "root point type options"."""
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(memberships)
    lines = []
    for mount in mounts:
        root, point, kind, options = mount.split()
        lines.append(f"31 23 0:28 {root} {folder}/{point} rw,relatime shared:9 - {kind} {kind} {options}\n")
    (proc / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/root rw\n" + "".join(lines))
    return proc


def write(folder: Path, **values: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    # As systemd's CPUQuota=150% of a service in a slice with CPUQuota=400%.
    proc = process(tmp_path, "0::/my.slice/gan.service\n", "/ cg cgroup2 rw,nsdelegate")
    write(tmp_path / "cg" / "my.slice", cpu__max="400000 100000", memory__max=str(2**30))
    write(tmp_path / "cg" / "my.slice" / "gan.service", cpu__max="150000 100000", memory__max="max")
    assert (cpu_limit(proc), memory_limit(proc)) == (1.5, 2**30)


def test_version_1(tmp_path: Path) -> None:
    proc = process(
        tmp_path,
        "9:name=systemd:/\n4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n0::/\n",
        "/ cg/cpu cgroup rw,cpu,cpuacct",
        "/ cg/memory cgroup rw,memory",
        "/ cg/unified cgroup2 rw",
    )
    write(tmp_path / "cg/cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    write(tmp_path / "cg/cpu/docker/ab", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
    write(tmp_path / "cg/memory/docker/ab", memory__limit_in_bytes=str(2**29))
    assert (cpu_limit(proc), memory_limit(proc)) == (2.5, 2**29)


@pytest.mark.parametrize("membership", ["0::/docker/ab\n", "0::/\n", "0::/elsewhere\n"])
def test_a_containers_own_group(tmp_path: Path, membership: str) -> None:
    proc = process(tmp_path, membership, "/docker/ab cg cgroup2 rw")
    write(tmp_path / "cg", cpu__max="50000 100000", memory__max=str(2**28))
    assert (cpu_limit(proc), memory_limit(proc)) == (0.5, 2**28)


def test_no_limit(tmp_path: Path) -> None:
    proc = process(tmp_path, "0::/a\n", "/ cg cgroup2 rw")
    write(tmp_path / "cg" / "a", cpu__max="max 100000", memory__max="max")
    assert (cpu_limit(proc), memory_limit(proc)) == (None, None)
    assert cpu_limit(tmp_path / "nowhere") is None
