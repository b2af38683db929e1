"""Test the command `ganserve ui` without a browser."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from commands import ganserve
from ganserve._commands.ui import main

if TYPE_CHECKING:
    from pathlib import Path


def ui(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "ganserve", "ui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the only line that does not report the time of an import."""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    return line


def test_help_needs_no_gradio() -> None:
    done = ui("--help")
    assert (done.returncode, "--models DIR" in done.stdout) == (0, True)
    assert "gradio" not in done.stderr


def test_a_target_and_a_folder_together_are_refused(tmp_path: Path) -> None:
    done = ui("--target", "localhost", "--models", str(tmp_path))
    assert done.returncode == 2
    assert error(done) == "ganserve ui: error: --models: cannot go with --target: leave one of them out"
    assert "gradio" not in done.stderr


def test_a_missing_folder() -> None:
    done = ganserve("ui", "--models", "/no/such/folder")
    assert done.returncode == 2
    assert "--models /no/such/folder: must be a folder of model packages" in error(done)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "a" * 64])  # unknown; another's; not a name
def test_a_host_of_another_machine(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", host]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"ganserve ui: error: --host {host}: ")
    advice = " an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them.\n"
    assert said.endswith((f": must be{advice}", f". Give{advice}"))


def test_an_invalid_port() -> None:
    done = ganserve("ui", "--port", "99999")
    assert done.returncode == 2
    assert error(done) == "ganserve ui: error: --port 99999: must be a number up to 65535."


def test_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ganserve("ui", "--target", "127.0.0.1:1", "--port", str(port))
    assert done.returncode == 2
    assert error(done) == f"ganserve ui: error: --port {port}: is not free: Address already in use. Give another."
