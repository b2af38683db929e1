"""README.md, executed: every shell and Python block, in order, in an empty folder, as a reader would.

Three changes only: the two `make` commands of the first block run in CI instead (they would run these very tests), the
server gets a free port, and it runs beside the blocks that follow it, as in the reader's first terminal.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = "50051"
SERVER_START_S = 60


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))


def test_first_block_is_what_ci_runs() -> None:
    language, first = blocks()[0]
    commands = [line.split("#")[0].strip() for line in first.splitlines() if not line.startswith("git clone")]
    assert language == "sh"
    assert [line for line in commands if line.startswith("make")] == ["make demo", "make test"]
    in_ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"make demo", "make test"} <= set(in_ci)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


def wait_for_port(port: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SERVER_START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_block_runs(tmp_path: Path) -> None:
    port = free_port()
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GANSERVE_TARGET": f"127.0.0.1:{port}",
    }
    servers = []
    executed = 0
    try:
        for language, text in blocks()[1:]:
            code = text.replace(PORT, port)
            if language not in ("sh", "python"):
                continue
            call = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else [sys.executable, "-c", code]
            if code.startswith("ganserve serve"):
                # exec: the signal at the end must reach the server, not its shell.
                call = ["bash", "-c", f"exec {code}"]
                servers.append(subprocess.Popen(call, cwd=tmp_path, env=environment))
                wait_for_port(port, servers[-1])
            else:
                done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{text}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
            executed += 1
    finally:
        for process in servers:
            process.send_signal(signal.SIGTERM)
        ends = [process.wait(60) for process in servers]
    assert executed >= 5
    assert servers
    assert ends == [0]
