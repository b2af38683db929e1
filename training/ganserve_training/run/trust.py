"""Run the code that a run's configuration names only if it is the user's own.

A configuration may name classes to import, and a run's folder may come from anywhere. Classes that the user has trained
with, by naming them in a command or a program, are remembered; a run that names others needs the user's word.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ganserve_training.config import TrainConfig
from ganserve_training.errors import CheckpointError, TrainingError, UntrustedRunError
from ganserve_training.files import write_text_atomically, writing
from ganserve_training.networks.custom import CustomConfig


def expect_trusted(config: TrainConfig, run: Path) -> None:
    """Refuse a run whose configuration names code that the user has not trained with.

    Raises:
        UntrustedRunError: With the names.
    """
    foreign = [path for path in _named(config) if path not in _own()]
    if foreign:
        raise UntrustedRunError(
            f"{run} names code to import and run that you have not trained with on this machine: {', '.join(foreign)}. "
            "If you know that code and want to run it, add --trust."
        )


def expect_same_code(changed: TrainConfig, asked: TrainConfig, checkpoint: Path) -> None:
    """Refuse a checkpoint whose cures name other code than the command does: a run never changes that itself.

    Raises:
        CheckpointError: With the names.
    """
    if foreign := sorted(set(_named(changed)) - set(_named(asked))):
        raise CheckpointError(
            f"checkpoint {checkpoint}: its cures name code that the command does not: {', '.join(foreign)}. Don't "
            "resume this run: somebody changed it."
        )


def remember_as_own(config: TrainConfig) -> str:
    """Remember the classes that a configuration names as the user's own; return why that failed, or ""."""
    own = _own()
    if set(_named(config)) <= own:
        return ""
    path = _file()
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text_atomically(path, "".join(f"{name}\n" for name in sorted(own | set(_named(config)))))
    except TrainingError as error:
        return f"note: your classes can't be remembered, so export-onnx and evaluate will ask for --trust. {error}"
    return ""


def _named(config: TrainConfig) -> tuple[str, ...]:
    networks = config.networks
    return (networks.generator_class, networks.critic_class) if isinstance(networks, CustomConfig) else ()


def _own() -> set[str]:
    """Return the remembered classes; a list that others can write counts for nothing."""
    path = _file()
    with suppress(OSError, UnicodeDecodeError):
        status = path.stat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022:
            return set(path.read_text(encoding="utf-8").splitlines())
    return set()


def _file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(state) / "ganserve" / "own-classes"
