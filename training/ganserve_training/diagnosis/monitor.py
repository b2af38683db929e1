"""Watches a run: looks every so often, keeps the history, says what is going on, knows the best step so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ganserve_training.config import TrainConfig
from ganserve_training.data import Samples, load_split
from ganserve_training.diagnosis.advice import advise
from ganserve_training.diagnosis.debounce import Debounce
from ganserve_training.diagnosis.findings import Finding, Kind
from ganserve_training.diagnosis.observation import Observation
from ganserve_training.diagnosis.probe import Change, Players, Probe, undisturbed
from ganserve_training.diagnosis.rules import best_observation, diagnose, is_better
from ganserve_training.evaluation.metrics import Modes, Quality, QualityMeter
from ganserve_training.evaluation.metrics.modes import modes_of
from ganserve_training.networks import build_networks
from ganserve_training.networks.growth import reals_at, stage_of
from ganserve_training.objectives.augmentation import Augmentation
from ganserve_training.run.folder import RunFolder
from ganserve_training.run.logs import LogWriter, read_log
from ganserve_training.run.random_state import Noise, seed_global
from ganserve_training.run.trained import draw_samples

if TYPE_CHECKING:
    from ganserve_training.run.trainer import Trainer

_QUALITY_SAMPLES = 500
_QUALITY_SEED = 30_000_001  # Far from the small seeds that people train and sample with.
_AUGMENTATION_SEED = 30_000_002
_PER_MODE = 8  # Samples below which a mode may be missed by accident.
_ENOUGH_HELD_OUT = 256
"""Held-out samples from which they are the quality's reference; fewer say less than the training samples do."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look led to."""

    observation: Observation
    findings: tuple[Finding, ...]
    """To be told now."""
    is_best: bool
    """Whether the quality is better than ever before in this run; never while networks grow, as nothing can be made of
    such a checkpoint."""


class Monitor:
    """Watches one run in its folder.

    Args:
        trainer: Whose players to look at.
        train: The samples that they learn from.
        folder: Where observations.jsonl and diagnosis.jsonl go.
        say: Takes one message for the user.
    """

    def __init__(
        self,
        trainer: Trainer,
        train: Samples,
        folder: RunFolder,
        say: Callable[[str], None],
    ) -> None:
        self._trainer = trainer
        self._config: TrainConfig = trainer.config
        self._say = say
        self._train = train
        self._eyes: _Eyes | None = None  # Made at the first look: a run that has none pays nothing.
        self._history: list[Observation] = []
        self._debounce = Debounce()
        self._stopped_after = 0
        self._observations = LogWriter(folder.observations, trainer.step)
        self._findings = LogWriter(folder.diagnosis, trainer.step)
        self._history.extend(Observation.from_dict(record) for record in read_log(folder.observations))

    @property
    def should_stop(self) -> bool:
        """Whether the run has been in decline for as long as its configuration allows."""
        return self._stopped_after > 0

    @property
    def best(self) -> Observation | None:
        """The observation with the best quality so far."""
        return best_observation(self._history)

    def look(self) -> Look:
        """Look at the players as they are now; keep and tell what there is to tell."""
        trainer = self._trainer
        self._eyes = self._eyes or _Eyes(trainer, self._train)
        observation = self._eyes.look()
        is_best = is_better(observation, self.best)
        self._history.append(observation)
        self._observations.write(observation.to_dict())
        conditions = diagnose(self._history)
        findings = tuple(
            Finding(step=trainer.step, kind=kind, message=conditions[kind], advice=self._advise(kind))
            for kind in self._debounce.feed(conditions)
        )
        for finding in findings:
            self._findings.write(finding.to_dict())
            self._say(str(finding))
        patience = self._config.diagnosis.patience
        declined = self._debounce.streak("decline") if "decline" in self._debounce.lasting else 0
        self._stopped_after = declined if 0 < patience <= declined else 0
        return Look(observation, findings, is_best)

    def note_divergence(self, message: str) -> None:
        """Keep a finding that the user is told as an error, because it ends the run."""
        kind: Kind = "divergence"
        finding = Finding(step=self._trainer.step, kind=kind, message=message, advice=self._advise(kind))
        self._findings.write(finding.to_dict())

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint, beside the history in observations.jsonl.

        `stopped_after` is for how many looks the quality had declined when the run stopped by itself, else 0.
        """
        return {"debounce": self._debounce.state_dict(), "stopped_after": self._stopped_after}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._debounce.load_state_dict(state["debounce"])

    def close(self) -> None:
        """Close the files."""
        self._observations.close()
        self._findings.close()

    def _advise(self, kind: Kind) -> str:
        return advise(kind, self._config, self._train.info, self._trainer.check)


class _Eyes:
    """The probe and the quality's measure, with what training does to samples."""

    def __init__(self, trainer: Trainer, train: Samples) -> None:
        self._trainer = trainer
        self._info = train.info
        config = trainer.config
        device = next(trainer.generator.parameters()).device
        held_out = load_split(config.data, "held_out")
        diagnosis, modes = config.diagnosis, modes_of(config.data)
        countable = _countable(modes, diagnosis.samples)
        players = Players(
            generator=trainer.generator,
            critic=trainer.critic,
            prior=trainer.prior,
            loss=trainer.loss,
            label_names=trainer.label_names,
            critic_uses_labels=trainer.critic_uses_labels,
        )
        self._probe = Probe(config, players, train, held_out, device, countable)
        reference = held_out if len(held_out) >= _ENOUGH_HELD_OUT else train
        self._meter = QualityMeter(
            reference, diagnosis.quality, modes if diagnosis.quality == "mode-coverage" else countable
        )
        self._untrained_quality = self._measure_untrained(device)
        self._random = torch.Generator(device)
        self._augmentation = Augmentation(config.augmentation, train.info, Noise(self._random))

    def look(self) -> Observation:
        """At the players as they are now."""
        trainer = self._trainer
        stage = stage_of(trainer.generator)
        return self._probe.look(
            trainer.step,
            trainer.samples_seen,
            growing=stage is not None and not stage.grown,
            augment=self._augment(),
            fade=(lambda samples: samples) if stage is None else lambda samples: reals_at(samples, stage),
            quality=self._measure_quality(trainer.ema.module),
            untrained_quality=self._untrained_quality,
        )

    def _measure_untrained(self, device: torch.device) -> float:
        """The quality that the run began with, at whatever step this is."""
        config = self._trainer.config
        with undisturbed(device):
            seed_global(config.seed)
            generator = build_networks(config.networks, self._info).generator
        return self._measure_quality(generator.to(device).eval()).value

    def _measure_quality(self, generator: nn.Module) -> Quality:
        trainer = self._trainer
        count = _QUALITY_SAMPLES
        names = len(trainer.label_names)
        labels = np.arange(count, dtype=np.int64) % names if names else None
        samples = draw_samples(generator, trainer.prior, self._info, labels, count, _QUALITY_SEED)
        if self._info.is_image and samples.shape[1] < self._info.height:  # Of networks that still grow.
            factor = self._info.height // samples.shape[1]
            samples = samples.repeat(factor, axis=1).repeat(factor, axis=2)
        return self._meter.measure(samples, labels if self._info.label_names else None)

    def _augment(self) -> Change:
        """What training does to samples before the critic sees them, with the same random numbers at every look.

        Under adaptive augmentation, clean samples are among what the critic is shown: they stay clean here.
        """
        config = self._trainer.config.augmentation
        progress = self._trainer.config.schedule.burn_in_progress(self._trainer.step)
        probability = 0.0 if config.ada.target else config.probability.at(progress)
        noise_std = config.instance_noise.at(progress)
        self._random.manual_seed(_AUGMENTATION_SEED)
        return lambda samples: self._augmentation(samples, probability, noise_std)


def _countable(modes: Modes | None, samples: int) -> Modes | None:
    """The modes, if `samples` are enough to count them."""
    return modes if modes is not None and modes.count * _PER_MODE <= samples else None
