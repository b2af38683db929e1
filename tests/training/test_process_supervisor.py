"""Test how the command reports that one of its processes failed, with small processes that do not train."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from ganserve_training.run import process_supervisor
from ganserve_training.run.launcher_environment import LOST_PEER_STATUS

NO_CHECKPOINT = "the same command starts again, as there is no checkpoint yet, with 2 processes or any other number\n"


@pytest.mark.parametrize(
    ("second", "status", "message"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            1,
            "was killed by SIGKILL, as the system does when memory runs out; the others were stopped.",
        ),
        ("print('words'); raise SystemExit(3)", 1, "ended with status 3; the others were stopped."),
        ("print('ganserve train: error: no space'); raise SystemExit(1)", 1, "ganserve train: error: no space\n"),
    ],
)
def test_the_failure_of_one_process_is_reported(
    second: str,
    status: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def start(argv: Sequence[str], rank: int, processes: int, port: int, stack: ExitStack) -> process_supervisor._Child:
        code = second if rank else f"raise SystemExit({LOST_PEER_STATUS})"
        said = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        process = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=said, stderr=said)
        return process_supervisor._Child(rank, process, said)

    monkeypatch.setattr(process_supervisor, "_start", start)
    assert process_supervisor.supervise([], 2, tmp_path, []) == status
    told = capsys.readouterr().err
    assert message in told
    assert "process 2 of 2 (pid " in told or told == message
    assert told.lower().endswith(NO_CHECKPOINT) or told == message


def test_processes_that_succeed_need_no_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(argv: Sequence[str], rank: int, processes: int, port: int, stack: ExitStack) -> process_supervisor._Child:
        return process_supervisor._Child(rank, subprocess.Popen([sys.executable, "-S", "-c", ""]), None)

    monkeypatch.setattr(process_supervisor, "_start", start)
    assert process_supervisor.supervise([], 2, tmp_path, []) == 0
    assert capsys.readouterr().err == ""
