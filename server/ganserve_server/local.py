"""Run the server inside a program's own process, on a Unix socket: the other end of the SDK's `Client.local`.

It is the server of `ganserve serve` on an event loop in a separate thread, so that a local client is an ordinary
client. The socket lies in a new folder that only this user may enter, and no port is opened.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import weakref
from concurrent.futures import Future
from pathlib import Path

from ganserve_server.api.grpc.server import GrpcServer
from ganserve_server.demo import MODELS as DEMO_MODELS
from ganserve_server.errors import ProviderError, StartupError
from ganserve_server.requests.limits import Limits
from ganserve_server.service import GanService
from ganserve_server.settings import ServerConfig
from ganserve_server.startup import load
from ganserve_server.tracing.export import application_tracer

__all__ = ["DEMO_MODELS", "LocalServer", "LocalServerError"]

_PREFIX = "ganserve-local-"
_STARTING_S = 60.0  # a younger socket may belong to a server that does not listen yet
_LONGEST_SOCKET_PATH = 100  # bytes; Linux takes 107, macOS 103
_DRAIN_S = 5.0  # the client's calls are cancelled before; this only bounds the wait for their handlers
_log = logging.getLogger(__name__)


class LocalServerError(Exception):
    """The server cannot start: one of the arguments of `Client.local` is wrong."""

    def __init__(self, argument: str, description: str) -> None:
        super().__init__(description)
        self.argument = argument


class LocalServer:
    """A server in this process; it starts at once, and ends when it is closed or garbage collected."""

    def __init__(self, models: Path, provider: str) -> None:
        """Start the server's thread, which loads the models; `provider` is `ServerConfig.provider`."""
        config = ServerConfig(models=models, provider=provider)  # type: ignore[arg-type]  # checked by the SDK
        folder = _new_folder()
        self.target = f"unix:{folder}/socket"
        """The server's address."""
        self.ready: Future[None] = Future()
        """Done when the server answers; fails with `LocalServerError` if it cannot start."""
        self._thread = _Thread(config, self.target, self.ready)
        # Called last to first: the thread must not bind the socket in a folder that is gone.
        self._remove_folder = weakref.finalize(self, _remove, folder, os.getpid())
        self._end_thread = weakref.finalize(self, self._thread.end)
        self._end_thread.atexit = False  # at exit it ends with the process
        self._thread.start()

    def close(self) -> None:
        """Stop the server, wait for the model calls that run, and free the models; do nothing if it has stopped."""
        self._end_thread()
        self._thread.join()
        self._remove_folder()


class _Thread(threading.Thread):
    """Runs the server's event loop; refers to nothing that its clients hold, so that those can be collected."""

    def __init__(self, config: ServerConfig, target: str, ready: Future[None]) -> None:
        super().__init__(name="ganserve-local", daemon=True)
        self._config, self._target, self._ready = config, target, ready
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Begin to stop the server, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server could not start
            self._loop.call_soon_threadsafe(self._ended.set)

    def run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._serve())
            except StartupError as error:
                argument = "provider" if isinstance(error, ProviderError) else "models"
                self._ready.set_exception(LocalServerError(argument, _without_flags(error)))
            except Exception as error:  # noqa: BLE001 - the caller that waits for the server gets it
                if not self._ready.done():
                    self._ready.set_exception(error)
                elif not self._ended.is_set():  # else the process ended meanwhile, and with it the threads
                    _log.error("the server in this process failed", exc_info=error)

    async def _serve(self) -> None:
        repository, report = await asyncio.to_thread(load, self._config)
        try:
            for line in report.splitlines():
                _log.info("%s", line)
            if self._ended.is_set():
                return
            limits = Limits.of(self._config)
            server = GrpcServer(limits=limits, tracer=application_tracer())
            server.bind(self._target)
            await server.start(GanService(repository, limits))
            if self._config.poll_s:
                repository.watch(self._config.poll_s)
            self._ready.set_result(None)
            await self._ended.wait()
            await server.drain(_DRAIN_S)
        finally:
            await asyncio.to_thread(repository.close)


def _new_folder() -> Path:
    """Make a private folder for the socket, whose path must be short."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    if len(os.fsencode(folder / "socket")) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
    _remove_dead(folder.parent)
    return folder


def _remove_dead(parent: Path) -> None:
    """Remove the folders of processes that were killed: their sockets refuse connections."""
    for file in parent.glob(f"{_PREFIX}*/socket"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            if time.time() - file.stat().st_mtime > _STARTING_S:
                try:
                    probe.connect(str(file))
                except ConnectionRefusedError:
                    shutil.rmtree(file.parent, ignore_errors=True)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a fork, whose parent still uses it
        shutil.rmtree(folder, ignore_errors=True)


def _without_flags(error: StartupError) -> str:
    """Return the message of an error without the flags of `ganserve serve`, for which it was written."""
    text = str(error).replace(", or wait for one with --allow-empty", "")
    return text.replace("--models ", "").replace("--provider ", "provider ")
