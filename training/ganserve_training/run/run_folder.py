"""Paths, small files and the lock of a run's folder."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganserve_training.errors import ConfigError, RunLockedError
from ganserve_training.files import reading, write_text_atomically, writing
from ganserve_training.presets.about import ABOUT

if TYPE_CHECKING:
    from ganserve_training.config import TrainConfig

_PICTURE = re.compile(r"step-(\d+)\.png")

Which = Literal["auto", "latest", "best"]
"""Choice of a run's checkpoint. auto: the latest, or the best if quality declined after it and did not recover."""


class RunFolder:
    """Paths and small files of a run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.json"
        self.fitted = root / "fitted.json"
        self.log = root / "log.jsonl"
        self.observations = root / "observations.jsonl"
        self.diagnosis = root / "diagnosis.jsonl"
        self.last_word = root / "last_word.json"
        self.cures = root / "cures.jsonl"
        self.tensorboard = root / "tensorboard"
        self.report = root / "report.html"
        self.checkpoints = root / "checkpoints"
        self.samples = root / "samples"
        self.real_samples = root / "real.png"
        self.metrics = root / "metrics.json"

    def pictures(self) -> list[tuple[int, Path]]:
        """Return the step and the file of each picture of samples, oldest first."""
        matches = ((_PICTURE.fullmatch(path.name), path) for path in self.samples.glob("*.png"))
        return sorted((int(match[1]), path) for match, path in matches if match)

    def missing(self, what: str) -> str:
        """Return the message that this folder holds no `what`, and how to train a run."""
        if self.config.exists():
            return f"{self.root}: has no {what} yet. Wait for the first one, or repeat its `ganserve train` command."
        preset = self.root.name if self.root.name in ABOUT else "PRESET"
        problem = f"holds no {what}" if self.root.is_dir() else "does not exist"
        return f"{self.root}: {problem}. Name a run's, or train first: `ganserve train {preset} --out {self.root}`."

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, so that only this process trains here, or raise RunLockedError.

        The lock ends with the process. Afterwards the lock file and folders that stayed empty are deleted.
        """
        with _made(self.root), _locked(self.root / ".lock") as owner:
            if owner is not None:
                raise RunLockedError(
                    f"{self.root}: is being trained by another process (pid {owner}). Wait for it, stop it, "
                    "or choose another --out."
                )
            yield

    def read_config(self) -> TrainConfig | None:
        """Return the configuration that the run was started with; None for a new folder.

        Raises:
            ConfigError: config.json is not a configuration.
        """
        if not self.config.exists():
            return None
        from ganserve_training.config.serialisation import config_from_dict

        try:
            with reading(self.config, "JSON", ConfigError):
                values = json.loads(self.config.read_text(encoding="utf-8"))
            return config_from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{self.config}: is not a ganserve configuration. {error}") from error

    def write_config(self, config: TrainConfig) -> None:
        """Write config.json."""
        from ganserve_training.config.serialisation import config_to_dict

        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.config, json.dumps(config_to_dict(config), indent=2) + "\n")

    def read_fitted(self) -> dict[str, Any]:
        """Return the values that followed the data when the run began, by path; empty: none did.

        Raises:
            ConfigError: fitted.json is damaged.
        """
        if not self.fitted.exists():
            return {}
        with reading(self.fitted, "a table of values", ConfigError):
            return dict(json.loads(self.fitted.read_text(encoding="utf-8")))

    def write_fitted(self, values: Mapping[str, Any]) -> None:
        """Write fitted.json, before config.json."""
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.fitted, json.dumps(values, indent=2) + "\n")

    def read_metrics(self, checkpoint_sha256: str) -> dict[str, float]:
        """Return the metrics of this checkpoint; empty if the last evaluation was of another one, or there is none.

        Raises:
            DataError: metrics.json is damaged.
        """
        if not self.metrics.exists():
            return {}
        with reading(self.metrics, "an evaluation"):
            evaluation = json.loads(self.metrics.read_text(encoding="utf-8"))
            if evaluation["checkpoint_sha256"] != checkpoint_sha256:
                return {}
            return {name: float(value) for name, value in evaluation["metrics"].items()}

    def write_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """Write metrics.json: `metrics` by name, and `checkpoint_sha256` of the evaluated checkpoint."""
        write_text_atomically(self.metrics, json.dumps(evaluation, indent=2, allow_nan=False) + "\n")


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Create a folder and its parents; afterwards, delete those of them that stayed empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # A folder that is not empty stays, and so do its parents.
            for path in made:
                path.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[str | None]:
    """Hold a lock file and delete it afterwards; yield the pid of its holder if there is one, else None."""
    while True:
        with writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield os.read(descriptor, 20).decode().strip() or "unknown"
                return
            if not _is_at(path, descriptor):
                continue  # Its holder has just deleted it, so locking it is useless.
            with suppress(OSError):  # On a full disk the lock holds, too; it only doesn't say by whom.
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
            try:
                yield None
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
