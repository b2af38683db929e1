"""Run a real server in a separate process, on a free port of this machine."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ganserve import Client
from ganserve._errors import MissingExtra, ServerUnavailable
from ganserve.testing._packages import Models, folder_of

# The modules that the extra `server` installs.
_NEEDED = ("onnxruntime", "grpc_health", "grpc_reflection", "prometheus_client", "tritonclient", "PIL")
_SERVING = re.compile(r"^serving on (\S+)$", re.MULTILINE)
_PATIENCE_S = 120.0  # a first import of onnxruntime from a slow disk
_POLL_S = 0.02
_GRACE_S = 20.0


class RunningServer:
    """A running server; made by `running_server`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, models: Path) -> None:
        self._process, self._log = process, log
        self.models = models
        """The folder of model packages that it serves; it finds packages that are built there later within seconds."""
        self.target = ""
        """Its address, "127.0.0.1:PORT", for `Client`."""

    @property
    def log(self) -> str:
        """Its output so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """Its process id, for tests that stop or kill it."""
        return self._process.pid

    def client(self, **options: Any) -> Client:
        """Return a new client, which the caller closes.

        Args:
            options: Options of `Client`, except the target.
        """
        return Client(self.target, **options)

    def wait_until_serving(self) -> None:
        """Wait until it answers.

        Raises:
            ServerUnavailable: It ended, or did not start in time; the message has its log.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not (match := _SERVING.search(self.log)):
            if (code := self._process.poll()) is not None:
                raise ServerUnavailable(f"the server ended with exit code {code} before it served:\n{self.log}")
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"the server does not serve after {_PATIENCE_S:g} s:\n{self.log}")
            time.sleep(_POLL_S)
        self.target = match[1]

    def stop(self) -> None:
        """Stop it, or kill it if that fails; do nothing if it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextlib.contextmanager
def running_server(models: Models = (), *flags: str) -> Iterator[RunningServer]:
    """Run a real server for the length of a with block.

    Args:
        models: Tiny models, or a folder of model packages. Default: one `TinyModel()`, called "digits".
        flags: More flags of `ganserve serve`, such as "--max-batch-size=8". The server does not see the environment's
            GANSERVE_… variables.

    Raises:
        MissingExtra: The extra `server` is not installed.
        ServerUnavailable: It did not start; the message has its log.
    """
    for module in _NEEDED:
        if find_spec(module) is None:
            raise MissingExtra.of("server", module, "a server for tests")
    with tempfile.TemporaryDirectory(prefix="ganserve-testing-") as folder:
        served = folder_of(models, Path(folder) / "models")
        log = Path(folder) / "server.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GANSERVE_")}
        with log.open("wb") as stream:
            process = subprocess.Popen(  # noqa: S603 - our own module, and the test's flags
                [sys.executable, "-m", "ganserve_server", "--models", str(served), "--port", "0", *flags],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        server = RunningServer(process, log, served)
        try:
            server.wait_until_serving()
            yield server
        finally:
            server.stop()
