"""Test what a full disk leaves: one line that says what to do, no half-written files, and a run that goes on."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ganserve_training.errors import CheckpointError, TrainingError, WriteError
from ganserve_training.files import write_atomically, write_text_atomically
from ganserve_training.run.checkpoint import checkpoint_paths, load_checkpoint, save_checkpoint
from ganserve_training.run.logs import LogWriter, read_log
from ganserve_training.run.run_folder import RunFolder

_OFTEN = ("--output.checkpoint-every-steps", 7, "--output.log-every-steps", 2, "--output.samples-every-steps", 5)
_TRAIN = ("train", "digits", "--out", "run", "--steps", 20, "--device", "cpu", "--batch-size", 16, *_OFTEN)
_SCRIPT = """
import pathlib, subprocess, sys
disk, free_kib = pathlib.Path(sys.argv[1]), int(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", sys.argv[3], "tmpfs", disk], check=True)
ballast = disk / "ballast"
ballast.write_bytes(bytes(max(0, 8192 - free_kib) * 1024))
command = [sys.executable, "-m", "ganserve", *sys.argv[4:], "--diagnosis.every-steps", "10"]
for turn in ("full", "full again", "freed"):
    if turn == "freed":
        ballast.unlink()
    done = subprocess.run(command, cwd=disk, capture_output=True, text=True)
    left = sorted(path.name for path in disk.rglob("*") if path.name.endswith((".tmp", ".lock")))
    usual = ("data: ", "regularisers: ", "step ", "run: resuming", "Ends ")
    errors = [line for line in done.stderr.splitlines() if not line.startswith(usual)]
    print((turn, done.returncode, errors, left), flush=True)
"""


def _own_mounts() -> bool:
    """Return whether this process may mount file systems of its own."""
    tool = shutil.which("unshare")
    if tool is None or not sys.platform.startswith("linux"):
        return False
    try_it = [tool, "--mount", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    return subprocess.run(try_it, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not _own_mounts(), reason="mounting a small disk needs rights that this process lacks")
@pytest.mark.parametrize("free_kib", [0, 40, 500, 900], ids="{} KiB free".format)
def test_a_full_disk_stops_in_one_line_and_the_same_command_goes_on_later(tmp_path: Path, free_kib: int) -> None:
    words = [sys.executable, "-c", _SCRIPT, tmp_path, free_kib, "size=8m", *_TRAIN]
    done = subprocess.run(["unshare", "--mount", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    turns = [eval(line) for line in done.stdout.splitlines()]
    for turn, code, errors, left in turns[:2]:
        assert (code, len(errors), left) == (1, 1, []), turns
        assert "(No space left on device). Free some space, and run the same command again" in errors[0], turn
    assert turns[2] == ("freed", 0, [], [])


def test_a_file_that_can_t_grow_is_removed_and_its_former_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text_atomically(path, "before")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(WriteError, match=r"x.json: can't be written \(File too large\)\. Free some space"):
            write_text_atomically(path, "x" * 10_000)
        with pytest.raises(CheckpointError, match=r"can't be written \(File too large\)\. Free some space, and run"):
            save_checkpoint(tmp_path, {"step": 3, "weights": list(range(10_000))}, keep=2)
        log = LogWriter(tmp_path / "log.jsonl", 0)
        log.write({"step": 1})
        with pytest.raises(WriteError, match=r"log.jsonl: can't be written"):
            log.write({"step": 2, "text": "x" * 10_000})
        log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["log.jsonl", "x.json"]
    assert path.read_text() == "before"
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1}]
    save_checkpoint(tmp_path, {"step": 3}, keep=2)
    assert load_checkpoint(checkpoint_paths(tmp_path)[0]).state["step"] == 3


def test_what_fails_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_lock_that_can_t_be_made_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ganserve_training.run.run_folder.os.open", refuse)
    with (
        pytest.raises(TrainingError, match=r"\.lock: can't be written \(.*\)\. (Free|Choose|Give)"),
        RunFolder(tmp_path / "run").locked(),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_holds_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("ganserve_training.run.run_folder.os.write", refuse)
        with RunFolder(tmp_path).locked():
            assert (tmp_path / ".lock").read_text() == ""
            with pytest.raises(TrainingError, match=r"another process \(pid unknown\)"), RunFolder(tmp_path).locked():
                pass
    assert list(tmp_path.iterdir()) == []
