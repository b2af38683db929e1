"""Monitor a run: observe it, keep the history, report findings, and remember the best step."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganserve_training.config import TrainConfig
from ganserve_training.data import Samples, load_split, to_network
from ganserve_training.diagnosis.advice import advise
from ganserve_training.diagnosis.cures import CURABLE, looks_to_cure
from ganserve_training.diagnosis.findings import Debounce, Finding, Kind
from ganserve_training.diagnosis.last_word import LastWord, last_word
from ganserve_training.diagnosis.likeness import LIKENESS_SAMPLES, LikenessMeter
from ganserve_training.diagnosis.observation import Observation
from ganserve_training.diagnosis.probe import Change, Players, Probe, undisturbed
from ganserve_training.diagnosis.quality_history import best_observation, is_better
from ganserve_training.diagnosis.recovery import recovery
from ganserve_training.diagnosis.rules import diagnose
from ganserve_training.errors import DataError
from ganserve_training.evaluation.modes import modes_of
from ganserve_training.evaluation.quality import Quality, QualityMeter
from ganserve_training.networks import build_networks
from ganserve_training.networks.growth import reals_at, stage_of
from ganserve_training.objectives.augmentation import Augmentation
from ganserve_training.run.logs import LogWriter, read_log
from ganserve_training.run.random_state import Noise, seed_global
from ganserve_training.run.run_folder import RunFolder
from ganserve_training.run.trained_model import draw_samples
from ganserve_training.run.training_step import Trainer

_AVERAGED_SAMPLES = 500  # of the averaged generator, for quality and likeness
_AVERAGED_SEED = 30_000_001  # far from the small seeds that people train and sample with
_LIKENESS_SEED = 3
_AUGMENTATION_SEED = 30_000_002
_PER_MODE = 8  # fewest samples per mode to count modes: with fewer, chance alone misses some
_ENOUGH_HELD_OUT = 256  # from this many on, held-out samples are the quality's reference, else training samples


@dataclass(frozen=True, slots=True)
class Look:
    """Result of one look."""

    observation: Observation
    findings: tuple[Finding, ...]
    """Findings to report now."""
    trouble: Finding | None
    """The report of a trouble that has lasted long enough to be cured now."""
    is_best: bool
    """True if the quality is the best so far; False while networks grow, because export refuses such checkpoints."""


class Monitor:
    """Watch one run: write observations.jsonl and diagnosis.jsonl in its folder, and `say` findings to the user."""

    def __init__(self, trainer: Trainer, train: Samples, folder: RunFolder, say: Callable[[str], None]) -> None:
        self._trainer = trainer
        self._config: TrainConfig = trainer.config
        self._say = say
        self._train = train
        self._folder = folder
        self._observer: _Observer | None = None  # made at the first look, because making it takes time
        self._debounce = Debounce()
        self._stopped_after = 0
        self._failures: set[str] = set()
        self._observations = LogWriter(folder.observations, trainer.step)
        self._findings = LogWriter(folder.diagnosis, trainer.step)
        # Read after the writer has dropped the observations of later steps.
        self._history = [Observation.from_dict(record) for record in read_log(folder.observations)]

    @property
    def should_stop(self) -> bool:
        """Say whether the quality has declined for as long as the configuration allows."""
        return self._stopped_after > 0

    @property
    def best(self) -> Observation | None:
        """Return the observation with the best quality so far."""
        return best_observation(self._history)

    def look(self) -> Look | None:
        """Measure both players as they are now, log the numbers, and report what is new.

        If the look fails, the monitor says why, returns None, and training goes on.
        """
        try:
            self._observer = self._observer or _Observer(self._trainer, self._train, self._say)
            observation = self._observer.observe()
        except Exception as error:  # noqa: BLE001 - whatever it is, a watched run must not die of its monitor
            self._say_failure(error)
            return None
        is_best = is_better(observation, self.best)
        self._history.append(observation)
        self._observations.write(observation.to_dict())
        conditions = diagnose(self._history, self._debounce.lasting)
        # Where numbers are not finite, nothing else can be seen; so nothing else has ended either.
        blind = frozenset[Kind]() if observation.is_finite else self._debounce.lasting
        changes = self._debounce.feed({*conditions, *blind})
        ended = (self._note(kind, recovery(kind, observation), over=True) for kind in changes.ended)
        findings = (*ended, *(self._note(kind, conditions[kind]) for kind in changes.begun))
        for finding in findings:
            self._say(str(finding))
        patience = self._config.diagnosis.patience
        declined = self._debounce.streak("decline") if "decline" in self._debounce.lasting else 0
        self._stopped_after = declined if 0 < patience <= declined else 0
        return Look(observation, findings, self._trouble(), is_best)

    def note_divergence(self, message: str) -> None:
        """Write down a finding that ends the run; the user sees it as an error."""
        self._note("divergence", message)

    def last_word(self) -> LastWord | None:
        """Return the last word about the run; None: the monitor has not looked."""
        findings = [Finding(**record) for record in read_log(self._folder.diagnosis)]
        looks = read_log(self._folder.observations)
        cures = read_log(self._folder.cures)
        return last_word(self._trainer.step, looks, findings, cures) if looks or findings else None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint; the history itself is in observations.jsonl.

        `stopped_after` is the number of looks in decline after which the run stopped early, or 0.
        """
        return {"debounce": self._debounce.state_dict(), "stopped_after": self._stopped_after}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._debounce.load_state_dict(state["debounce"])

    def close(self) -> None:
        """Close the files."""
        self._observations.close()
        self._findings.close()

    def _trouble(self) -> Finding | None:
        """Return the report of a trouble that has just lasted long enough to be cured."""
        for kind in CURABLE:
            if kind in self._debounce.lasting and self._debounce.streak(kind) == looks_to_cure(kind, self._config):
                reports = [Finding(**record) for record in read_log(self._folder.diagnosis)]
                return next(report for report in reversed(reports) if report.kind == kind and not report.over)
        return None

    def _say_failure(self, error: Exception) -> None:
        words = f"{type(error).__name__}: {error}"
        if words not in self._failures:
            self._failures.add(words)
            step = self._trainer.step
            self._say(f"the monitor could not look at step {step}, and training goes on without this look. {words}")

    def _note(self, kind: Kind, message: str, *, over: bool = False) -> Finding:
        advice = "" if over else advise(kind, self._config, self._train.info, self._trainer.check)
        finding = Finding(step=self._trainer.step, kind=kind, message=message, advice=advice, over=over)
        self._findings.write(asdict(finding))
        return finding


class _Observer:
    """Take observations with the probe and the quality metric, on samples changed as in training."""

    def __init__(self, trainer: Trainer, train: Samples, say: Callable[[str], None]) -> None:
        self._trainer = trainer
        self._info = train.info
        config, diagnosis, modes = trainer.config, trainer.config.diagnosis, modes_of(trainer.config.data)
        device = next(trainer.generator.parameters()).device
        held_out = load_split(config.data, "held_out")
        countable = modes if modes is not None and modes.count * _PER_MODE <= diagnosis.samples else None
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
        modes = modes if diagnosis.quality == "mode-coverage" else countable
        self._meter: QualityMeter | None = None
        self._untrained_quality: float | None = None
        try:
            self._meter = QualityMeter(reference, diagnosis.quality, modes)
            self._untrained_quality = self._measure_untrained(device)
        except DataError as error:
            self._meter = None
            say(f"the monitor measures no quality: {error}")
        self._likeness = LikenessMeter(self._probe.space, _likeness_samples(train, config.seed))
        self._random = torch.Generator(device)
        self._augmentation = Augmentation(config.augmentation, train.info, Noise(self._random))

    def observe(self) -> Observation:
        trainer = self._trainer
        stage = stage_of(trainer.generator)
        samples, labels = self._draw(trainer.ema.module)
        return self._probe.look(
            trainer.step,
            trainer.samples_seen,
            growing=stage is not None and not stage.grown,
            augment=self._augment(),
            fade=(lambda samples: samples) if stage is None else lambda samples: reals_at(samples, stage),
            quality=self._measure_quality(samples, labels),
            likeness=self._likeness.measure(to_network(torch.from_numpy(samples), self._info)),
            untrained_quality=self._untrained_quality,
        )

    def _measure_untrained(self, device: torch.device) -> float | None:
        """Return the quality before training, at any step of the run; None: it is not measured."""
        config = self._trainer.config
        with undisturbed(device):
            seed_global(config.seed)
            generator = build_networks(config.networks, self._info).generator
        quality = self._measure_quality(*self._draw(generator.to(device).eval()))
        return None if quality is None else quality.value

    def _measure_quality(self, samples: NDArray[Any], labels: NDArray[np.int64] | None) -> Quality | None:
        return None if self._meter is None else self._meter.measure(samples, labels)

    def _draw(self, generator: nn.Module) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        """Return samples of the data's size, always of the same latents, and their labels if the data have labels."""
        trainer, count = self._trainer, _AVERAGED_SAMPLES
        names = len(trainer.label_names)
        labels = np.arange(count, dtype=np.int64) % names if names else None
        samples = draw_samples(generator, trainer.prior, self._info, labels, count, _AVERAGED_SEED)
        if self._info.is_image and samples.shape[1] < self._info.height:  # from networks that still grow
            factor = self._info.height // samples.shape[1]
            samples = samples.repeat(factor, axis=1).repeat(factor, axis=2)
        return samples, labels if self._info.label_names else None

    def _augment(self) -> Change:
        """Return how training changes samples before the critic sees them, with the same random numbers at every look.

        With adaptive augmentation, the critic sees clean samples, too; so samples stay clean here.
        """
        config = self._trainer.config.augmentation
        progress = self._trainer.config.schedule.burn_in_progress(self._trainer.step)
        probability = 0.0 if config.ada.target else config.probability.at(progress)
        noise_std = config.instance_noise.at(progress)
        self._random.manual_seed(_AUGMENTATION_SEED)
        return lambda samples: self._augmentation(samples, probability, noise_std)


def _likeness_samples(train: Samples, seed: int) -> Tensor:
    """Return distinct training samples, for both sides of the likeness, as networks see them."""
    order = np.random.default_rng([seed, _LIKENESS_SEED]).permutation(len(train))[: 2 * LIKENESS_SAMPLES]
    read = train.read(np.sort(order))[np.argsort(np.argsort(order))]  # read files in their order
    return to_network(torch.from_numpy(read), train.info)
