"""Write checkpoints atomically and check them by digest when they are read.

`checkpoints/step-00001500.pt` is a dictionary of plain values and tensors (`torch.load(weights_only=True)` reads it);
`step-00001500.pt.sha256`, in the format of `sha256sum`, is written first. `best-00001200.pt`, from the step with the
best quality, leaves out what only training needs.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganserve_training.errors import CheckpointError, CheckpointFormatError, WriteError
from ganserve_training.files import (
    file_sha256,
    reading,
    reason_of,
    remove_temporary_files,
    write_atomically,
    write_text_atomically,
    writing,
)

FORMAT = 1
"""Version of the dictionary in a checkpoint; increased by a change that older versions can't read."""
_NAME = re.compile(r"step-(\d{8,})\.pt")
_TRAINING_ONLY = frozenset(
    ("generator", "generator_optimiser", "critic_optimiser", "ada", "rng", "pending_measures", "diagnosis")
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read and matches its digest."""

    path: Path
    sha256: str
    state: dict[str, Any]


def save_checkpoint(folder: Path, state: dict[str, Any], *, keep: int, healthy_step: int = -1) -> Path:
    """Write `state` as the checkpoint of `state["step"]`, then delete all but the last `keep`.

    The newest one at or before `healthy_step` stays, too.

    Raises:
        CheckpointError: It can't be written, for instance because the disk is full; earlier checkpoints are unharmed.
    """
    path = _write(folder / f"step-{state['step']:08d}.pt", state)
    old = checkpoint_paths(folder)[:-keep]
    healthy = [path for path in old if checkpoint_step(path) <= healthy_step][-1:]
    for each in old:
        if each not in healthy:
            delete_checkpoint(each)
    return path


def save_best_checkpoint(folder: Path, state: dict[str, Any], quality: dict[str, Any]) -> Path:
    """Write the best checkpoint, for use but not for resuming, then delete the former one.

    `quality` holds `name`, `value` and `higher_is_better`. The file's name has its step, so that a crash at any moment
    leaves the former or the new one whole. Like `save_checkpoint` it raises CheckpointError.
    """
    kept = {name: value for name, value in state.items() if name not in _TRAINING_ONLY}
    path = _write(folder / f"best-{state['step']:08d}.pt", {**kept, "quality": quality})
    for old in folder.glob("best-*.pt"):
        if old != path:
            delete_checkpoint(old)
    return path


def best_checkpoint_path(folder: Path) -> Path | None:
    """Return the best checkpoint in `folder`, the later one if a crash left two, or None."""
    return max(folder.glob("best-*.pt"), key=lambda path: (len(path.name), path.name), default=None)


def _write(path: Path, state: dict[str, Any]) -> Path:
    digest = _digest_path(path)
    replaced = digest.read_text("utf-8", "replace") if path.exists() and digest.exists() else ""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # Given a path, torch would say nothing of a full disk.
            torch.save({"format": FORMAT, **state}, file)
        # Until the new file is in place, the digest of the one that it replaces must hold, too.
        write_text_atomically(digest, f"{file_sha256(temporary)}  {path.name}\n{replaced}")

    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
        if replaced:
            write_text_atomically(digest, digest.read_text("utf-8", "replace").partition("\n")[0] + "\n")
    except (WriteError, RuntimeError) as error:  # torch.save raises RuntimeError where writing fails.
        if not path.exists():
            with suppress(OSError):
                _digest_path(path).unlink(missing_ok=True)
        raise CheckpointError(
            f"checkpoint {path}: can't be written ({_why(error)}). Free some space, and run the same command again; "
            "the checkpoints before it are unharmed."
        ) from error
    return path


def _why(error: Exception) -> str:
    """Return the file system's reason; torch's own words are about its archive."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return reason_of(error)


def delete_checkpoint(path: Path) -> None:
    """Delete a checkpoint and its digest."""
    path.unlink(missing_ok=True)
    _digest_path(path).unlink(missing_ok=True)


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob("step-*.pt") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def checkpoint_step(path: Path) -> int:
    """Return the step in the name of a checkpoint, latest or best."""
    return int(path.stem.rpartition("-")[2])


def load_latest_checkpoint(folder: Path, report: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest undamaged checkpoint or, if there are none at all, None; report each damaged one.

    If all are damaged, raise CheckpointError.
    """
    paths = checkpoint_paths(folder)
    for path in reversed(paths):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            report(str(error))
    if paths:
        raise CheckpointError(
            f"{folder}: all {len(paths)} checkpoints are damaged. Restore one from a backup, "
            "or delete the run's folder to start again."
        )
    return None


def set_aside_damaged(folder: Path, good: Path) -> None:
    """Rename checkpoints newer than `good` to `….damaged`, so that none of them counts as the newest."""
    paths = checkpoint_paths(folder)
    for path in paths[paths.index(good) + 1 :]:
        path.replace(path.with_name(path.name + ".damaged"))
        _digest_path(path).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check it against its digest.

    Raises:
        CheckpointError: It is missing or damaged.
        CheckpointFormatError: Another version of ganserve wrote it, in a format that this one can't read.
    """
    with reading(path, "a checkpoint with a digest beside it", CheckpointError):
        lines = _digest_path(path).read_text(encoding="utf-8").splitlines()
        expected = [line.split()[0] for line in lines]
        wanted, actual = expected[0], file_sha256(path)
    if actual not in expected:
        raise CheckpointError(f"checkpoint {path}: is damaged: its sha256 is {actual[:12]}…, not {wanted[:12]}….")
    state = read_state(path)
    if state.get("format") != FORMAT:
        raise CheckpointFormatError(
            f"checkpoint {path}: has the format {state.get('format')}, this version of ganserve reads {FORMAT}. "
            "Use the version that wrote it."
        )
    return Checkpoint(path, actual, state)


def read_state(path: Path, *, on_disk: bool = False) -> dict[str, Any]:
    """Return the dictionary in a checkpoint's file, whatever its format and digest.

    Args:
        path: The file.
        on_disk: Leave the tensors there until they are used.

    Raises:
        CheckpointError: It is not a checkpoint, or is damaged.
    """
    with reading(path, "a checkpoint", CheckpointError):
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=on_disk)
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {path}: holds a {type(state).__name__}, not a dictionary.")
    return state


def clean_checkpoint_folder(folder: Path) -> None:
    """Delete files that a killed process left half-written, and digests without a checkpoint."""
    remove_temporary_files(folder)
    for digest in folder.glob("*.pt.sha256"):
        if not digest.with_suffix("").exists():
            digest.unlink(missing_ok=True)


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
