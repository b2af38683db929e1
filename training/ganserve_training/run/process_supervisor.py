"""Run `ganserve train --processes N`: start N processes on this machine, forward signals, and report how they ended.

The processes get the environment variables of torchrun, so that training has one way to start. This module does not
restart processes or use several machines: torchrun does.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ganserve_training.run.checkpoint import checkpoint_paths
from ganserve_training.run.launcher_environment import LOST_PEER_STATUS, SUPERVISOR
from ganserve_training.run.run_folder import RunFolder

_GRACE_S = 30.0
"""Time that the others have to end after the first process has ended."""
_POLL_S = 0.05
_PREFIX = "ganserve train: error: "


@dataclass(slots=True)
class _Child:
    rank: int
    process: subprocess.Popen[bytes]
    said: IO[bytes] | None
    """Its stdout and stderr; None: the first process, which writes to the user directly."""
    given_up: bool = False
    """True if we killed it after the timeout."""

    def output(self) -> str:
        if self.said is None:
            return ""
        self.said.seek(0)
        return self.said.read().decode(errors="replace").strip()


def supervise(argv: Sequence[str], processes: int, out: Path, requests: list[int]) -> int:
    """Run `ganserve train` with `argv` in several processes until all have ended.

    A signal handler appends the signals to forward to `requests`.

    Returns:
        The exit status: the first process's, unless another process failed by itself.
    """
    with ExitStack() as stack:
        # The processes connect through this store, which exists before they start and until all have ended.
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
        children: list[_Child] = []
        stack.callback(_end_all, children)
        for rank in range(processes):
            children.append(_start(argv, rank, processes, port, stack))  # noqa: PERF401 - _end_all sees each at once
        _wait(children, requests)
        status = _conclude(children, out, requests)
        del store
        return status


def _start(argv: Sequence[str], rank: int, processes: int, port: int, stack: ExitStack) -> _Child:
    said = None if rank == 0 else stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-P", "-m", "ganserve", "train", *argv],
        env=os.environ | _environment(rank, processes, port),
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        start_new_session=True,  # Ctrl-C then reaches only this process, which forwards it.
    )
    return _Child(rank, process, said)


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    variables = {
        "TORCHELASTIC_RUN_ID": "ganserve",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        SUPERVISOR: str(os.getpid()),
        # Lets them import the same custom networks as this process.
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback and "GLOO_SOCKET_IFNAME" not in os.environ:
        variables["GLOO_SOCKET_IFNAME"] = loopback[0]  # Gloo would resolve the host's name, which often fails.
    return variables


def _wait(children: Sequence[_Child], requests: list[int]) -> None:
    """Wait until all processes have ended; kill those that still run a while after the first has ended."""
    passed_on = 0
    ended_at: float | None = None
    while True:
        running = [child for child in children if child.process.poll() is None]
        if not running:
            return
        for number in requests[passed_on:]:
            passed_on += 1
            for child in running:
                child.process.send_signal(number)
        if ended_at is None and len(running) < len(children):
            ended_at = time.monotonic()
        if ended_at is not None and time.monotonic() > ended_at + _GRACE_S:
            for child in running:
                child.given_up = True
                child.process.kill()
        try:
            running[0].process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            continue


def _conclude(children: Sequence[_Child], out: Path, requests: Sequence[int]) -> int:
    """Return the exit status; write a sentence if the first process could not report the failure itself."""
    first = children[0].process.returncode
    if all(child.process.returncode == 0 for child in children):
        return 0
    if requests:
        return first if first == 0 or (first > 0 and first != LOST_PEER_STATUS) else 128 + requests[0]
    for child in children:
        number = -child.process.returncode
        if number > 0 and not child.given_up:
            memory = ", as the system does when memory runs out" if number == signal.SIGKILL else ""
            what = f"was killed by {signal.Signals(number).name}{memory}"
            return _fail(child, len(children), what, out)
    if first > 0 and first != LOST_PEER_STATUS:
        return first  # It has reported why.
    for child in children:
        status = child.process.returncode
        if status > 0 and status != LOST_PEER_STATUS:
            words = child.output()
            lines = words.splitlines()
            if lines and lines[-1].startswith(_PREFIX):  # It reported a known error.
                sys.stderr.write(f"{lines[-1]}\n")
                return status
            sys.stderr.write(f"{words}\n")
            return _fail(child, len(children), f"ended with status {status}", out)
    child = next(child for child in children if child.process.returncode)
    reason = child.output().rpartition("\n")[2].removeprefix(_PREFIX)
    return _fail(child, len(children), f"lost its connection to the others{f' ({reason})' if reason else ''}", out)


def _fail(child: _Child, count: int, what: str, out: Path) -> int:
    paths = checkpoint_paths(RunFolder(out).checkpoints)
    begins = "starts again, as there is no checkpoint yet"
    if paths:
        begins = f"resumes from the checkpoint of step {int(paths[-1].stem.removeprefix('step-'))}"
    sys.stderr.write(
        f"{_PREFIX}process {child.rank + 1} of {count} (pid {child.process.pid}) {what}; the others were stopped. "
        f"The same command {begins}, with {count} processes or any other number\n"
    )
    return 1


def _end_all(children: Sequence[_Child]) -> None:
    """Kill the processes that still run."""
    for child in children:
        if child.process.poll() is None:
            child.process.kill()
        child.process.wait()
