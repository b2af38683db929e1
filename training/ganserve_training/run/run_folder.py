"""The folder of one run: where everything lies, and who may write to it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganserve_training.errors import ConfigError, RunLockedError
from ganserve_training.files import write_text_atomically
from ganserve_training.presets.about import ABOUT

if TYPE_CHECKING:
    from ganserve_training.config import TrainConfig

Which = Literal["auto", "latest", "best"]
"""Which of a run's checkpoints. auto: the latest, but the best where the quality declined after it and stayed so."""


class RunFolder:
    """Paths and small files of a run.

    config.json, log.jsonl, observations.jsonl, diagnosis.jsonl, checkpoints/, samples/, tensorboard/, metrics.json,
    report.html.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.json"
        self.log = root / "log.jsonl"
        self.observations = root / "observations.jsonl"
        self.diagnosis = root / "diagnosis.jsonl"
        self.tensorboard = root / "tensorboard"
        self.report = root / "report.html"
        self.checkpoints = root / "checkpoints"
        self.samples = root / "samples"
        self.metrics = root / "metrics.json"

    @property
    def how_to_train(self) -> str:
        """What to do where a run is missing, for the end of an error."""
        preset = self.root.name if self.root.name in ABOUT else "PRESET"
        missing = "" if self.root.is_dir() else "there is no such folder; "
        return f"{missing}name a run's, or train first, with `ganserve train {preset} --out {self.root}`"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that trains here; the lock goes with the process, however it ends.

        Afterwards the lock's file is gone, and so are folders that were made for it and have stayed empty: a run that
        is refused leaves nothing.

        Raises:
            RunLockedError: Another process holds it.
        """
        with _made(self.root), _locked(self.root / ".lock") as owner:
            if owner is not None:
                raise RunLockedError(
                    f"{self.root} is being trained by another process (pid {owner}): wait for it, stop it, "
                    "or choose another --out"
                )
            yield

    def read_config(self) -> TrainConfig | None:
        """Return the configuration that the run was started with; None for a new folder.

        Raises:
            ConfigError: config.json is not a configuration.
        """
        try:
            text = self.config.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        from ganserve_training.config.serialisation import config_from_dict

        try:
            return config_from_dict(json.loads(text))
        except (json.JSONDecodeError, ConfigError) as error:
            raise ConfigError(f"{self.config} is not a ganserve configuration. {error}") from error

    def write_config(self, config: TrainConfig) -> None:
        """Write config.json."""
        from ganserve_training.config.serialisation import config_to_dict

        self.root.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.config, json.dumps(config_to_dict(config), indent=2) + "\n")

    def read_metrics(self, checkpoint_sha256: str) -> dict[str, float]:
        """Return the evaluation of this very checkpoint; empty if the latest one was of another, or there was none."""
        try:
            evaluation = json.loads(self.metrics.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        if evaluation["checkpoint_sha256"] != checkpoint_sha256:
            return {}
        return {name: float(value) for name, value in evaluation["metrics"].items()}

    def write_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """Write metrics.json: `metrics` by name, and `checkpoint_sha256` of what was evaluated."""
        write_text_atomically(self.metrics, json.dumps(evaluation, indent=2) + "\n")


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and its parents; afterwards, remove those of them that have stayed empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # One that is not empty: neither are its parents.
            for path in made:
                path.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[str | None]:
    """Hold a lock file, which is gone afterwards; gives the pid of the process that holds it already, else None."""
    while True:
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                yield file.read().strip() or "unknown"
                return
            if not _is_at(path, file.fileno()):
                continue  # Whoever held it has just removed it: it locks nothing any more.
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            try:
                yield None
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
