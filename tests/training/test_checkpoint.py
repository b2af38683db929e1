import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ganserve_training.errors import CheckpointError, CheckpointFormatError
from ganserve_training.files import file_sha256
from ganserve_training.run.checkpoint import (
    FORMAT,
    checkpoint_paths,
    clean_checkpoint_folder,
    load_checkpoint,
    load_latest_checkpoint,
    save_checkpoint,
    set_aside_damaged,
)


def state(step: int) -> dict[str, object]:
    return {"step": step, "weights": torch.full((100,), float(step)), "nested": {"numbers": [1, 2.5, "three"]}}


def no_report(message: str) -> None:
    raise AssertionError(f"unexpected message: {message}")


def test_a_checkpoint_is_read_back_unchanged(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, state(7), keep=3)
    checkpoint = load_latest_checkpoint(tmp_path, no_report)
    assert checkpoint is not None
    assert checkpoint.path == path == tmp_path / "step-00000007.pt"
    assert torch.equal(checkpoint.state.pop("weights"), torch.full((100,), 7.0))
    assert checkpoint.state == {"format": FORMAT, "step": 7, "nested": {"numbers": [1, 2.5, "three"]}}
    assert checkpoint.sha256 == file_sha256(path)


def test_a_checkpoint_of_another_format_is_refused_but_not_as_damaged(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state(7), keep=3)
    save_checkpoint(tmp_path, {**state(8), "format": FORMAT + 1}, keep=3)
    with pytest.raises(CheckpointFormatError, match=rf"format {FORMAT + 1}, this version of ganserve reads {FORMAT}"):
        load_latest_checkpoint(tmp_path, no_report)


def test_sha256sum_can_check_the_digest(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state(7), keep=3)
    subprocess.run(["sha256sum", "--check", "step-00000007.pt.sha256"], cwd=tmp_path, check=True, capture_output=True)


def test_a_checkpoint_that_is_being_replaced_stays_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A healed run writes the checkpoint that it goes on from again, and may be killed before the file is renamed."""
    path = save_checkpoint(tmp_path, state(7), keep=3)

    def killed(path: Path, write: Callable[[Path], None]) -> None:
        write(path.with_name(path.name + ".tmp"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ganserve_training.run.checkpoint.write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, {**state(7), "cures": ["one"]}, keep=3)
    assert "cures" not in load_checkpoint(path).state
    save_checkpoint(tmp_path, {**state(7), "cures": ["two"]}, keep=3)
    assert load_checkpoint(path).state["cures"] == ["two"]
    assert (tmp_path / "step-00000007.pt.sha256").read_text() == f"{file_sha256(path)}  {path.name}\n"


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 100_000_000):
        save_checkpoint(tmp_path, state(step), keep=2)
    names = sorted(path.name for path in tmp_path.iterdir())
    kept = ["step-00000004.pt", "step-100000000.pt"]
    assert names == sorted(kept + [name + ".sha256" for name in kept])
    assert [path.name for path in checkpoint_paths(tmp_path)] == kept


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert load_latest_checkpoint(tmp_path, no_report) is None
    assert load_latest_checkpoint(tmp_path / "missing", no_report) is None


@pytest.mark.parametrize("damage", ["torn", "empty", "flipped bit", "no digest", "empty digest", "other digest"])
def test_a_damaged_checkpoint_is_reported_and_skipped(tmp_path: Path, damage: str) -> None:
    good = save_checkpoint(tmp_path, state(1), keep=3)
    bad = save_checkpoint(tmp_path, state(2), keep=3)
    digest = bad.with_name(bad.name + ".sha256")
    content = bytearray(bad.read_bytes())
    match damage:
        case "torn":
            bad.write_bytes(content[: len(content) // 2])
        case "empty":
            bad.write_bytes(b"")
        case "flipped bit":
            content[len(content) // 2] ^= 1
            bad.write_bytes(content)
        case "no digest":
            digest.unlink()
        case "empty digest":
            digest.write_text("")
        case "other digest":
            digest.write_text("0" * 64 + "  step-00000002.pt\n")
    messages: list[str] = []
    checkpoint = load_latest_checkpoint(tmp_path, messages.append)
    assert checkpoint is not None
    assert checkpoint.path == good
    assert len(messages) == 1
    assert str(bad) in messages[0]
    with pytest.raises(CheckpointError, match="step-00000002"):
        load_checkpoint(bad)
    set_aside_damaged(tmp_path, good)
    assert checkpoint_paths(tmp_path) == [good]
    assert (tmp_path / "step-00000002.pt.damaged").exists()


def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "step-00000003.pt"
    path.write_bytes(b"not a checkpoint")
    path.with_name(path.name + ".sha256").write_text(f"{file_sha256(path)}  {path.name}\n")
    with pytest.raises(CheckpointError, match="can't be read"):
        load_checkpoint(path)


def test_only_damaged_checkpoints_are_an_error_not_a_new_start(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state(1), keep=3).write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=r"all 1 checkpoints are damaged. Restore .* or delete"):
        load_latest_checkpoint(tmp_path, lambda message: None)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"step": 1, "evil": Path}, keep=1)
    with pytest.raises(CheckpointError, match="can't be read"):
        load_checkpoint(tmp_path / "step-00000001.pt")


WRITER = """
import os, sys, torch
from pathlib import Path
from ganserve_training.run.checkpoint import save_checkpoint
for folder in map(Path, sys.argv[1:]):
    if (writer := os.fork()) == 0:
        print("writer", os.getpid(), flush=True)
        step = 0
        while True:
            step += 1
            save_checkpoint(folder, {"step": step, "weights": torch.full((200_000,), float(step))}, keep=2)
            print("step", step, flush=True)
    os.waitpid(writer, 0)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_checkpoints(tmp_path: Path) -> None:
    """Kill the process at a different phase of its work each time: right after a line, a little later, and so on."""
    kills = {tmp_path / "first": (3, 0), tmp_path / "second": (5, 20_000), tmp_path / "third": (4, 200_000)}
    with subprocess.Popen([sys.executable, "-c", WRITER, *map(str, kills)], stdout=subprocess.PIPE, text=True) as each:
        assert each.stdout is not None
        lines = (line.split() for line in each.stdout)
        for kill_after, spin in kills.values():
            writer = next(int(value) for word, value in lines if word == "writer")
            assert any(int(value) == kill_after for _, value in lines)
            for _ in range(spin):
                pass
            os.kill(writer, signal.SIGKILL)
    assert each.returncode == 0
    for folder, (kill_after, _) in kills.items():
        clean_checkpoint_folder(folder)
        checkpoint = load_latest_checkpoint(folder, no_report)
        assert checkpoint is not None
        assert checkpoint.state["step"] >= kill_after
        assert torch.equal(checkpoint.state["weights"], torch.full((200_000,), float(checkpoint.state["step"])))
        assert not list(folder.glob("*.tmp"))
        for path in checkpoint_paths(folder):
            load_checkpoint(path)
