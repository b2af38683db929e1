"""Read everything that a report shows from a run's folder."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ganserve_training.config import TrainConfig
from ganserve_training.data import DataInfo
from ganserve_training.diagnosis import Finding, Observation
from ganserve_training.diagnosis.last_word import LastWord, read_last_word
from ganserve_training.errors import CheckpointError, ConfigError, DataError, TrainingError
from ganserve_training.evaluation.result import Evaluation
from ganserve_training.files import reading
from ganserve_training.networks.build import resolve_conditioning
from ganserve_training.run.checkpoint import checkpoint_paths, read_state
from ganserve_training.run.healing import Cure
from ganserve_training.run.logs import read_log
from ganserve_training.run.run_folder import RunFolder

RecordT = TypeVar("RecordT")

MOST_PICTURES = 60  # most pictures that a report shows, evenly spaced; the last one is always shown


@dataclass(frozen=True, kw_only=True, slots=True)
class RunMaterial:
    """Everything that a report shows of a run."""

    name: str
    config: TrainConfig
    log: list[dict[str, float]]
    observations: list[Observation]
    findings: list[Finding]
    cures: list[str]
    """A line about each change that the run made to itself."""
    pictures: list[tuple[int, Path]]
    """Samples of the generator: step and file."""
    picture_count: int
    """Number of pictures in the folder, shown or not."""
    real_samples: Path | None
    """Picture of real samples like those of generated ones; None: there is none."""
    evaluation: Evaluation | None
    """The newest result of `ganserve evaluate`; None: the run was not evaluated."""
    last_word: LastWord | None
    """The monitor's last word, or one about the run so far."""
    environment: dict[str, str]
    """Machine and versions with which the newest checkpoint was trained."""
    row_labels: tuple[str, ...]
    """Names of the labels that the generator takes, one for each row of a picture of images."""
    is_image: bool
    """True if samples are images, false if they are vectors."""
    stopped: bool
    """True if the run stopped because its quality declined."""

    @property
    def step(self) -> int:
        """Return the last step in the logs."""
        logged = [int(record["step"]) for record in self.log[-1:]]
        return max(logged + [item.step for item in self.observations[-1:]], default=0)


def read_run(folder: RunFolder) -> RunMaterial:
    """Read a run's folder; raise the errors of `write_report`."""
    config = folder.read_config()
    if config is None:
        raise DataError(folder.missing("run"))
    pictures, state = folder.pictures(), _newest_state(folder)
    return RunMaterial(
        name=folder.root.resolve().name,
        config=config,
        log=read_log(folder.log),
        observations=_records(folder.observations, Observation.from_dict),
        findings=_records(folder.diagnosis, lambda record: Finding(**record)),
        cures=_records(folder.cures, lambda record: f"{Cure(**record)}."),
        pictures=_thinned(pictures),
        picture_count=len(pictures),
        real_samples=folder.real_samples if folder.real_samples.is_file() else None,
        evaluation=_evaluation(folder.metrics),
        last_word=read_last_word(folder),
        environment={name: str(value) for name, value in state.get("environment", {}).items()},
        row_labels=_row_labels(config, state),
        is_image=len(state.get("data", {}).get("sample_shape", ())) == 3,
        stopped=bool((state.get("diagnosis") or {}).get("stopped_after", 0)),
    )


def _records(path: Path, parse: Callable[[dict[str, Any]], RecordT]) -> list[RecordT]:
    records = read_log(path)
    with reading(path, "a log of the monitor"):
        return [parse(record) for record in records]


def _thinned(pictures: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    count = len(pictures)
    if count <= MOST_PICTURES:
        return pictures
    return [pictures[round(place * (count - 1) / (MOST_PICTURES - 1))] for place in range(MOST_PICTURES)]


def _newest_state(folder: RunFolder) -> dict[str, Any]:
    """Return the newest checkpoint that can be opened, its tensors on disk; empty: there is none yet."""
    for path in reversed(checkpoint_paths(folder.checkpoints)):
        try:
            state = read_state(path, on_disk=True)
            with reading(path, "a checkpoint of ganserve", CheckpointError):
                DataInfo.from_dict(state["data"])
                dict(state["environment"])
                bool((state["diagnosis"] or {}).get("stopped_after", 0))
        except TrainingError:
            continue  # a report shows what it can read
        return state
    return {}


def _evaluation(path: Path) -> Evaluation | None:
    if not path.exists():
        return None
    with reading(path, "an evaluation", fix="Delete it, and run `ganserve evaluate` again"):
        return Evaluation.from_dict(json.loads(path.read_text(encoding="utf-8")))


def _row_labels(config: TrainConfig, state: Mapping[str, Any]) -> tuple[str, ...]:
    if "data" not in state:
        return ()
    info = DataInfo.from_dict(state["data"])
    try:
        return resolve_conditioning(config.networks, info).label_names if info.is_image else ()
    except ConfigError:  # custom networks may condition in another way
        return info.label_names
