"""Test that the process keeps freed memory for the next step, in large pages where the kernel has them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def run(program: str, settings: dict[str, str] | None = None) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=inherited | (settings or {}), capture_output=True, text=True, check=True
    )
    return done.stdout


_FREED = """
import resource, torch
from ganserve_training.run.allocator import keep_freed_memory
print(keep_freed_memory())

def use():
    tensors = [torch.ones(2**22) for _ in range(6)]  # 16 MiB each

for _ in range(5):  # until the heap has room for all of them at once
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 5_000)
"""


@pytest.mark.parametrize(
    ("settings", "said"), [({}, "True\nTrue\n"), ({"MALLOC_TRIM_THRESHOLD_": "0"}, "False\nFalse\n")]
)
def test_freed_memory_is_used_again_unless_the_environment_says_otherwise(settings: dict[str, str], said: str) -> None:
    """120,000 pages are used; kept memory needs no new ones."""
    assert run(_FREED, settings) == said


_HUGE = """
import ctypes, pathlib
from ganserve_training.run.allocator import keep_freed_memory, use_huge_pages

def resident_kib(name):
    text = pathlib.Path("/proc/self/smaps_rollup").read_text()
    return int(text.split(name + ":")[1].split()[0])

keep_freed_memory()
before = resident_kib("Rss")
said = use_huge_pages()
print(said, resident_kib("Rss") - before < 8192)  # room alone takes no memory
block = bytearray(24 * 2**20)
block[::4096] = bytes(len(block[::4096])).replace(b"\\0", b"1")
print(resident_kib("AnonHugePages") > 0)
"""


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text(encoding="utf-8"),
    reason="the kernel has no huge pages",
)
def test_the_heap_has_huge_pages() -> None:
    assert run(_HUGE).split() == ["True", "True", "True"]
