"""Share code between the serving benchmarks: server processes, CPU time, memory, the machine."""

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


class FailedError(SystemExit):
    """A server did not start, or its client failed; the text says why. Uncaught, it ends the program in that line."""


class Bystanders:
    """Measure the machine's CPU time used by programs other than this process, its children and one more."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._start = self._clocks()

    def share(self) -> float:
        """Return the share since construction."""
        busy, own, every = (now - then for now, then in zip(self._clocks(), self._start, strict=True))
        return max(0.0, (busy - own) / every)

    def _clocks(self) -> tuple[float, float, float]:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        idle = ticks[3] + ticks[4]
        own = (sum(os.times()[:4]) + cpu_seconds(self._pid)) * os.sysconf("SC_CLK_TCK")
        return sum(ticks) - idle, own, sum(ticks)


def cpu_seconds(pid: int | str) -> float:
    """Return the CPU time that a process has used, in all its threads; of PID/task/TID, that of a thread."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(models: Path, flags: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a `ganserve serve` process; yield it and its HOST:PORT."""
    command = ["-m", "ganserve_server", "--models", str(models), "--port", "0", "--provider", "cpu", *flags]
    with serving(command) as running:
        yield running


@contextlib.contextmanager
def echo(response: bytes) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run an `echo.py` process that answers `response`; yield it and its HOST:PORT."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(response)
        file.flush()
        with serving([str(HERE / "echo.py"), file.name]) as running:
            yield running


@contextlib.contextmanager
def sketch(package: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a `sketch.py` process that serves a package's generator; yield it and its HOST:PORT."""
    with serving([str(HERE / "sketch.py"), str(package / "generator.onnx")]) as running:
        yield running


@contextlib.contextmanager
def serving(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a Python process that prints its HOST:PORT; stop it at the end of the block, and show its messages.

    Raises FailedError with its last message if it ends before.
    """
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=messages, text=True)
        served = False
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("serving on "):
                    served = True
                    yield process, line.split()[-1]
                    return
        finally:
            process.terminate()
            process.wait()
            messages.seek(0)
            said = messages.read()
            if served:
                sys.stderr.write(said)
    raise FailedError(last_line(said) or f"the server ended with exit code {process.returncode} before it served")


def load(
    address: str, model: str, count: int, concurrency: int, seconds: float, variables: dict[str, str] | None = None
) -> dict[str, float]:
    """Let a `client.py` process keep requests in flight, and return what it measured; it gets more variables."""
    command = [sys.executable, str(HERE / "client.py"), address, model, *map(str, (count, concurrency, seconds))]
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise FailedError(f"its client failed: {last_line(done.stderr) or f'exit code {done.returncode}'}")
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def last_line(text: str) -> str:
    """Return the last line that says something; "" if none does."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def memory_mib(pid: int) -> float:
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
