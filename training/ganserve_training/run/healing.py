"""Go back to a run's last healthy checkpoint, change what made it fail, and remember that."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from ganserve_training.config.serialisation import changed_config, config_to_dict
from ganserve_training.config.train import TrainConfig
from ganserve_training.diagnosis.cures import looks_to_cure
from ganserve_training.diagnosis.findings import PERSISTENCE, Finding, Kind
from ganserve_training.diagnosis.rules import STANDSTILL_WINDOW, SWING_WINDOW
from ganserve_training.errors import TrainingError
from ganserve_training.files import write_text_atomically
from ganserve_training.options.checks import flag
from ganserve_training.run.checkpoint import (
    Checkpoint,
    best_checkpoint_path,
    checkpoint_paths,
    checkpoint_step,
    delete_checkpoint,
    load_checkpoint,
)
from ganserve_training.run.run_folder import RunFolder

_WINDOWS: dict[Kind, int] = {"oscillation": SWING_WINDOW, "no-progress": STANDSTILL_WINDOW}
"""Looks over which a trouble is measured, for troubles that one look does not show."""
_RESTART = ("networks.", "optimisers.generator.name", "optimisers.critic.name")
"""Options whose change makes the state of a checkpoint useless."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cure:
    """A change that the run made to itself; one line of cures.jsonl."""

    step: int
    """Step at which the trouble was found."""
    back_to: int
    """Step of the checkpoint from which the run went on; 0: the start."""
    kind: str
    message: str
    changes: dict[str, Any]
    """New values by path."""

    def __str__(self) -> str:
        where = f"step {self.back_to}" if self.back_to else "the start"
        changes = " ".join(f"{flag(path)} {_shown(value)}" for path, value in self.changes.items())
        return f"healing: {self.kind.replace('-', ' ')} at step {self.step}. Going on from {where} with {changes}"


class TroubleError(TrainingError):
    """The diagnosis found a trouble that ends a run's use."""

    def __init__(self, finding: Finding, cure: dict[str, Any]) -> None:
        super().__init__(str(finding))
        self.finding = finding
        self.cure = cure
        """Changes that may help, by path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Treatment:
    """The configuration that a run was asked for, and what it changed of it since."""

    asked: TrainConfig
    cures: tuple[Cure, ...] = ()

    @classmethod
    def of(cls, asked: TrainConfig, checkpoint: Checkpoint | None) -> Self:
        """Return the treatment that a checkpoint records, with the options of `asked` that may change."""
        cures = () if checkpoint is None else checkpoint.state.get("cures", ())
        return cls(asked=asked, cures=tuple(Cure(**cure) for cure in cures))

    @property
    def config(self) -> TrainConfig:
        """The configuration to train with."""
        config = self.asked
        for cure in self.cures:
            config = changed_config(config, cure.changes)
        return config

    def to_state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint: nothing for a run that never changed."""
        if not self.cures:
            return {}
        return {"asked": config_to_dict(self.asked), "cures": [asdict(cure) for cure in self.cures]}

    def cured(self, cure: Cure) -> Self:
        """Return this treatment with one more cure."""
        return replace(self, cures=(*self.cures, cure))


def heal(folder: RunFolder, treatment: Treatment, trouble: TroubleError) -> tuple[Treatment, Checkpoint | None]:
    """Undo a run's steps since it was healthy; return the new treatment, and the checkpoint to go on from.

    Keeps the logs and later pictures of the failed try in attempts/N. If the process is killed halfway, the run goes on
    with its former configuration from the same checkpoint, fails in the same way and is healed in the same way.
    """
    finding = trouble.finding
    healthy = None if any(path.startswith(_RESTART) for path in trouble.cure) else _healthy(folder, treatment, finding)
    back_to = 0 if healthy is None else healthy.state["step"]
    cure = Cure(step=finding.step, back_to=back_to, kind=finding.kind, message=finding.message, changes=trouble.cure)
    attempt = folder.root / "attempts" / str(len(treatment.cures) + 1)
    attempt.mkdir(parents=True, exist_ok=True)
    for log in (folder.log, folder.observations, folder.diagnosis):
        if log.exists():
            shutil.copyfile(log, attempt / log.name)
    for step, picture in folder.pictures():
        if step > back_to:
            (attempt / folder.samples.name).mkdir(exist_ok=True)
            picture.replace(attempt / folder.samples.name / picture.name)
    best = best_checkpoint_path(folder.checkpoints)
    for path in [*checkpoint_paths(folder.checkpoints), *([best] if best else [])]:
        if checkpoint_step(path) > back_to or healthy is None:
            delete_checkpoint(path)
    treatment = treatment.cured(cure)
    lines = (json.dumps(asdict(each)) + "\n" for each in treatment.cures)
    write_text_atomically(folder.cures, "".join(lines))
    return treatment, healthy


def healthy_step(config: TrainConfig, step: int) -> int:
    """Return the last step that is healthy even if a run must be cured at `step`; negative: none, or no healing.

    This is for troubles that last about a tenth of a run until then. After those that last longer the run starts anew
    if no checkpoint is old enough.
    """
    healing = config.on_trouble == "heal" and config.diagnosis.enabled
    looks = looks_to_cure("mode-collapse", config) - PERSISTENCE
    return _healthy_before(config, step - looks * config.look_interval) if healing else -1


def _healthy_before(config: TrainConfig, step: int) -> int:
    """Return the last healthy step of a run in which a trouble was found at `step`.

    A trouble is found at the third look that shows it. The look before these may have missed its beginning.
    """
    return step - (PERSISTENCE + 1) * config.look_interval


def _healthy(folder: RunFolder, treatment: Treatment, finding: Finding) -> Checkpoint | None:
    """Return the newest checkpoint from well before the trouble; None: the start.

    A second trouble after the same checkpoint leads to the start: the checkpoint may have had its seed already.
    """
    config = treatment.config  # The one that failed: a cure may change how many samples a step shows.
    window = _WINDOWS.get(finding.kind, 0) * config.look_interval
    latest = min([_healthy_before(config, finding.step) - window, *(cure.back_to - 1 for cure in treatment.cures)])
    paths = [path for path in checkpoint_paths(folder.checkpoints) if 0 < checkpoint_step(path) <= latest]
    return load_checkpoint(paths[-1]) if paths else None


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
