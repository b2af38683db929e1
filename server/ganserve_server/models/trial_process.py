"""Try packages in other processes before this one loads them: endless, crashing or huge ones end there.

The processes are fresh ones, not forks, because this process has threads. Importing this module is quick, so that a
process can start before this one imports onnxruntime.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from ganserve_server.models.agreement import Agreement, Alone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ganserve_server.engine.sessions import EngineConfig, Feed
    from ganserve_server.models.package_files import Package

_MOST_REMEMBERED = 10_000
_MOST_ANSWER_BYTES = 2**16
SLOW_S = 5.0
"""Time after which a trial may have to give way."""
_LOOK_EVERY_S = 0.5
_START = "import sys; sys.path[:] = {path!r}; from ganserve_server.models.trial_child import main; main()"


class SlowTrialError(Exception):
    """A trial takes long, and gave way to others; it may be tried again later."""


class TrialProcesses:
    """Tries packages, each in a process that no other trial uses meanwhile. Safe in any thread."""

    def __init__(self, *, timeout_s: float, memory_bytes: int, agreement: Agreement | None = None) -> None:
        """Set the most time and memory of a trial. By `agreement` one process tries a package for all."""
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        self._passed: set[object] = set()
        self._agreement = agreement or Alone()

    @property
    def closed(self) -> bool:
        """True once it tries nothing more."""
        return self._closed

    def start(self) -> None:
        """Start a process for the first trial, to be ready sooner."""
        self._idle.append(self._spawned())

    def check(
        self,
        package: Package,
        engine: EngineConfig,
        feeds: Sequence[Feed],
        attempt: int = 0,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> None:
        """Try a package with the generator's inputs `feeds`, unless it has passed before in the same way.

        A trial that takes more than five seconds ends as soon as `gives_way` returns True; each further attempt has
        twice that time, up to the limit.

        Raises PackageError if it fails, crashes, or exceeds a limit, ProviderError, and SlowTrialError if it gave way.
        """
        from dataclasses import replace

        from ganserve_server.engine.providers import ON_CPU
        from ganserve_server.errors import PackageError, ProviderError

        way = package.digest, engine, tuple(len(feed["latents"]) for feed in feeds)
        if way in self._passed:
            return
        # One session is enough, and to measure which is faster is for the server.
        once = replace(engine, instances=1, devices=engine.devices[:1], cuda_graphs="off", lone_threads=1)
        once = replace(once, shared_weights=None)  # a trial opens no files
        if engine.conv_search == "measure":
            once = replace(once, conv_search="heuristic")
        if engine.conv_layout == "measure":
            once = replace(once, conv_layout="nchw")
        is_reusable = engine.provider in ON_CPU

        def run() -> tuple[str, str]:
            limit = _Limit(SLOW_S * 2**attempt, self._timeout_s, gives_way)
            return self._run(package, once, feeds, limit, is_reusable=is_reusable)

        kind, message = self._agreement.once(("trial", *way, attempt), run)
        if kind == "slow":
            raise SlowTrialError
        if kind == "provider":
            raise ProviderError(message)
        if kind != "passed":
            raise PackageError(message)
        if len(self._passed) >= _MOST_REMEMBERED:
            self._passed.clear()
        self._passed.add(way)

    def rest(self) -> None:
        """End the processes that no trial uses, whose memory nobody needs now."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            _end(process)

    def close(self) -> None:
        """End all processes and with them running trials, which fail."""
        with self._lock:
            self._closed = True
            processes = [*self._idle, *self._busy]
            self._idle = []
            for process in processes:
                process.kill()
        for process in processes:
            _end(process)

    def _run(
        self,
        package: Package,
        engine: EngineConfig,
        feeds: Sequence[Feed],
        limit: _Limit,
        *,
        is_reusable: bool,
    ) -> tuple[str, str]:
        """Return the outcome of a trial: its kind and the message of a failure."""
        from ganserve_server.models.trial_child import Task

        task = Task(package=package, engine=engine, feeds=list(feeds), timeout_s=self._timeout_s)
        try:
            process = self._take()
        except OSError as error:
            return "package", f"no process to try it in could be started: {error.strerror}"
        limit.begin(process)
        answer: list[str] | None = None
        try:
            assert process.stdin is not None, "it is a pipe"
            assert process.stdout is not None, "it is a pipe"
            with contextlib.suppress(BrokenPipeError):  # it has ended, and its status says why
                pickle.dump(task, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
            line = process.stdout.readline(_MOST_ANSWER_BYTES)
            answer = _parsed(line)
        finally:
            limit.end()
            self._give_back(process, reuse=is_reusable and answer is not None and answer[0] != "memory")
        if limit.gave_way:
            return "slow", ""
        if limit.exceeded:
            return "package", self._too_slow()
        if answer is None:
            return "package", self._end_of(process)
        if answer[0] == "memory":
            return "package", self._too_large()
        return answer[0], answer[1]

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            process = self._idle.pop() if self._idle else self._spawned()
            if process.poll() is not None:  # killed while it was idle
                _end(process)
                process = self._spawned()
            self._busy.add(process)
            if self._closed:
                process.kill()
            return process

    def _give_back(self, process: subprocess.Popen[bytes], *, reuse: bool) -> None:
        with self._lock:
            self._busy.discard(process)
            if reuse and not self._closed:
                self._idle.append(process)
                return
        _end(process)

    def _spawned(self) -> subprocess.Popen[bytes]:
        # -I -S: neither the environment nor site packages change what is imported; the path is this process's.
        start = _START.format(path=sys.path)
        return subprocess.Popen(  # noqa: S603 - this program
            [sys.executable, "-I", "-S", "-c", start, str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process
        )

    def _too_slow(self) -> str:
        return (
            f"its trial did not end within {self._timeout_s:g} s: raise --load-timeout-s, or lower --max-batch-size "
            "for a slow model"
        )

    def _too_large(self) -> str:
        return (
            f"its trial needs more than {self._memory_bytes // 2**20} MiB of memory: raise --load-memory-mib, or lower "
            "--max-batch-size"
        )

    def _end_of(self, process: subprocess.Popen[bytes]) -> str:
        if self._closed:
            return "the server stopped during its trial"
        status = process.returncode
        if status >= 0:
            return f"the process that tried it ended with exit code {status} (stderr may say more)"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        if name == "SIGKILL":
            return f"the process that tried it was killed: the machine may lack memory. {self._too_large()}"
        return f"the process that tried it crashed ({name}): export it again, or report the crash to onnxruntime"


class _Limit:
    """Ends a process after a time, or earlier if it is slow and has to give way."""

    def __init__(self, slow_s: float, timeout_s: float, gives_way: Callable[[], bool]) -> None:
        self.exceeded = self.gave_way = False
        self._slow_s, self._timeout_s = slow_s, timeout_s
        self._gives_way = gives_way
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def begin(self, process: subprocess.Popen[bytes]) -> None:
        """Limit a process from now on."""
        threading.Thread(target=self._watch, args=(process,), name="trial-limit", daemon=True).start()

    def end(self) -> None:
        """Let the process live on, if it does: it may try another package."""
        with self._lock:
            self._ended.set()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        end, pause_s = time.monotonic() + self._timeout_s, self._slow_s
        while not self._ended.wait(max(0.0, min(pause_s, end - time.monotonic()))):
            exceeded = time.monotonic() >= end
            gives_way = not exceeded and self._gives_way()
            with self._lock:
                if (exceeded or gives_way) and not self._ended.is_set():
                    self.exceeded, self.gave_way = exceeded, gives_way
                    process.kill()
                    return
            pause_s = _LOOK_EVERY_S


def _parsed(line: bytes) -> list[str] | None:
    """Return an answer's kind and message; None if the line is no answer, as a hostile package may print anything."""
    with contextlib.suppress(ValueError):
        answer: Any = json.loads(line)
        if isinstance(answer, list) and len(answer) == 2 and all(isinstance(part, str) for part in answer):
            return answer
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None, "it is a pipe"
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
