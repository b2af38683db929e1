"""Test commands that are stopped: by Ctrl-C wherever it comes, or by a reader that goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def test_an_interruption(server: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ganserve", "sample", "-n", "1000000", "--model", "tiny", "--out", "many"]
    with subprocess.Popen([*command, "--target", server], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "many").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")


INTERRUPTED = """
import signal
import sys
import time
import types
import weakref


def raise_it(*_):
    signal.raise_signal(signal.SIGINT)
    for _ in range(2):
        pass


class Dying:
    __del__ = raise_it


class Referred:
    pass


def lost_in_a_destructor():
    Dying()
    time.sleep(60)


def lost_in_a_callback():
    subject = Referred()
    reference = weakref.ref(subject, raise_it)
    del subject
    while True:
        pass


def lost_in_exec():
    exec("Dying()\\nwhile True: pass", globals())


def lost_at_the_end():
    Dying()


def lost_twice():
    Dying()
    Dying()
    time.sleep(60)


def raised_in_exec():
    exec("raise_it()", globals())


def entry(argv):
    globals()[argv[0]]()
    return 0


sys.modules["ganserve._commands.models"] = types.SimpleNamespace(main=entry)
"""
"""Replaces the command `models` by one that interrupts itself where its argument says."""


@pytest.mark.parametrize(
    "place",
    ["lost_in_a_destructor", "lost_in_a_callback", "lost_in_exec", "lost_at_the_end", "lost_twice", "raised_in_exec"],
)
def test_one_interruption_ends_a_command_wherever_it_comes(place: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "ganserve", "models", place],
        env=environment, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_closed_pipe_is_not_an_error(server: str) -> None:
    line = f"{sys.executable} -m ganserve models --json --target {server} | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_a_reader_that_stops_early_causes_no_traceback() -> None:
    call = f"set -o pipefail; {sys.executable} -m ganserve sample --help | head -n 1"
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
