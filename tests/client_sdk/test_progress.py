"""Test progress: a bar on a terminal, which is erased at the end; nothing in a pipe."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

from ganserve._commands.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal() -> None:
    terminal = Terminal()
    with Progress(10, terminal) as progress:
        progress.show(5, "5 of 10")
    drawn, erased = terminal.getvalue().rsplit("\r", 1)
    assert drawn == f"\r\x1b[2K[{'#' * 15}{'.' * 15}]  50%  5 of 10"
    assert erased == "\x1b[2K"


def test_nothing_without_a_terminal() -> None:
    pipe = io.StringIO()
    with Progress(10, pipe) as progress:
        progress.show(5, "5 of 10")
    assert pipe.getvalue() == ""


def test_sample_shows_it_on_a_terminal_only(server: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ganserve", "sample", "-n", "30000", "--model", "tiny-rgb", "--target", server]
    controller, terminal = pty.openpty()
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    seen = b""
    try:
        while chunk := os.read(controller, 65536):
            seen += chunk
    except OSError:  # read the terminal's output
        pass
    finally:
        os.close(controller)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.startswith(b"30000 samples ")
    assert b" of 30,000 samples" in seen
    assert seen.endswith(b"\x1b[2K")
