"""Run a real server process on a free port."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVING = re.compile(r'(?:^|"message": ")serving on ([^\s"]+)', re.MULTILINE)
_METRICS = re.compile(r'(?:^|"message": ")metrics  (https?://\S+)/metrics', re.MULTILINE)


class ServerProcess:
    """A server process and its output; `address` is its HOST:PORT after `wait_until_serving`.

    Without `models`, flags must say what it serves.
    """

    def __init__(self, models: Path | None, *flags: str, environment: dict[str, str] | None = None) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `stop`
        folder = [] if models is None else ["--models", str(models)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ganserve_server", *folder, "--port", "0", *flags],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        self.address = ""

    @property
    def metrics_url(self) -> str:
        """Address of metrics and probes, for servers with --metrics-port."""
        return self.wait_for(_METRICS)[1]

    @property
    def log(self) -> str:
        # Open the file again: a seek would move the process's position in it.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode()

    def wait_until_serving(self, timeout_s: float = 60) -> None:
        self.address = self.wait_for(_SERVING, timeout_s)[1]

    def wait_for(self, pattern: re.Pattern[str], timeout_s: float = 60) -> re.Match[str]:
        """Wait until its output matches; fail if the process ends first."""
        deadline = time.monotonic() + timeout_s
        while not (match := pattern.search(self.log)):
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"no {pattern.pattern!r} within {timeout_s} s:\n{self.log}"
            time.sleep(0.02)
        return match

    def wait(self, timeout_s: float = 60) -> int:
        """Wait until it ends and return its exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end within {timeout_s} s:\n{self.log}") from None

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stop it; kill it if that fails."""
        if self.process.poll() is None:
            self.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


@contextlib.contextmanager
def running_server(
    models: Path | None, *flags: str, environment: dict[str, str] | None = None
) -> Iterator[ServerProcess]:
    """Run a server until the block ends; show its output if the block fails."""
    server = ServerProcess(models, *flags, environment=environment)
    try:
        server.wait_until_serving()
        yield server
    except BaseException:
        sys.stderr.write(f"--- the server's log ---\n{server.log}")
        raise
    finally:
        server.stop()


def processes_of(server: ServerProcess) -> list[int]:
    """Return the ids of its child processes."""
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def fetch(server: ServerProcess, path: str) -> tuple[int, str]:
    """Return status and body of a path of its HTTP port."""
    try:
        with urllib.request.urlopen(f"{server.metrics_url}{path}") as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
