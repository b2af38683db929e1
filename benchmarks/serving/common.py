"""What the serving benchmarks share: server processes, whose CPU time it was, and on what machine."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


class Bystanders:
    """Measures the share of the machine's CPU time that went to neither this process, its children nor one more."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._start = self._clocks()

    def share(self) -> float:
        """The share since construction."""
        busy, own, every = (now - then for now, then in zip(self._clocks(), self._start, strict=True))
        return max(0.0, (busy - own) / every)

    def _clocks(self) -> tuple[float, float, float]:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        idle = ticks[3] + ticks[4]
        own = (sum(os.times()[:4]) + cpu_seconds(self._pid)) * os.sysconf("SC_CLK_TCK")
        return sum(ticks) - idle, own, sum(ticks)


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time that a process used, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(models: Path, flags: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `ganserve serve` process and its HOST:PORT."""
    command = ["-m", "ganserve_server", "--models", str(models), "--port", "0", "--provider", "cpu", *flags]
    with serving(command) as running:
        yield running


@contextlib.contextmanager
def echo(response: bytes) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An `echo.py` process that answers with `response`, and its HOST:PORT."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(response)
        file.flush()
        with serving([str(HERE / "echo.py"), file.name]) as running:
            yield running


@contextlib.contextmanager
def sketch(package: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `sketch.py` process that serves a package's generator, and its HOST:PORT."""
    with serving([str(HERE / "sketch.py"), str(package / "generator.onnx")]) as running:
        yield running


@contextlib.contextmanager
def serving(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process that prints its HOST:PORT, until the block ends."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("serving on "):
                yield process, line.split()[-1]
                return
        raise RuntimeError("the server ended before it served")
    finally:
        process.terminate()
        process.wait()


def load(address: str, model: str, count: int, concurrency: int, seconds: float) -> dict[str, float]:
    """Has `client.py` keep requests in flight from a process of its own, and returns what it measured."""
    command = [sys.executable, str(HERE / "client.py"), address, model, *map(str, (count, concurrency, seconds))]
    measured: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return measured


def memory_mib(pid: int) -> float:
    """Returns the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def machine() -> dict[str, object]:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg(),
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }
