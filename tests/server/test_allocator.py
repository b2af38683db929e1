"""Test that the process keeps freed memory, unless the environment sets the allocator's thresholds."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Free 32 MiB at the top of the heap, block by block, and print whether the process kept most of them.
_PROGRAM = """
import ctypes, pathlib, resource
from ganserve_server.allocator import keep_freed_memory

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
said = keep_freed_memory()
before = resident()
blocks = (ctypes.c_void_p * 320)()  # made before the blocks: a list that grows between them would pin the heap's top
for number in range(320):
    blocks[number] = libc.malloc(100_000)
for block in blocks:
    ctypes.memset(block, 1, 100_000)
for block in blocks:
    libc.free(block)
print(said, resident() - before > 16_000_000)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(
    ("environment", "kept"), [({}, "True True"), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, "False False")]
)
def test_freed_memory_is_kept_unless_the_environment_sets_thresholds(environment: dict[str, str], kept: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env={**inherited, **environment}, capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == kept, result.stderr
