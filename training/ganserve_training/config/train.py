"""Everything that decides what a run's weights become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ganserve_training.config._checks import expect, expect_seed
from ganserve_training.config.augmentation import AugmentationConfig
from ganserve_training.config.data import DataConfig
from ganserve_training.config.diagnosis import DiagnosisConfig
from ganserve_training.config.game import SIGNED_LOSSES, EmaConfig, LossConfig, OptimisersConfig, RegularisersConfig
from ganserve_training.config.networks import NetworksConfig
from ganserve_training.config.progressive import ProgressiveConfig

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """How the players alternate, and how annealed values (start, end) move."""

    burn_in_steps: int = 5000
    """Steps over which annealed values go from start to end, along half a cosine; refused where none is annealed."""
    critic_steps: int = 1
    """Updates of the critic in one step, each on a fresh batch (WGAN's n_critic)."""
    generator_steps: int = 1
    """Updates of the generator in one step."""
    unrolled_steps: int = 0
    """Updates that the critic is imagined to make, and through which the generator's gradient flows (Metz et al.
    2017); 0: off."""

    def __post_init__(self) -> None:
        for name in ("burn_in_steps", "critic_steps", "generator_steps"):
            expect(getattr(self, name) >= 1, f"schedule.{name}", getattr(self, name), "at least 1")
        expect(self.unrolled_steps >= 0, "schedule.unrolled_steps", self.unrolled_steps, "not negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputConfig:
    """What a run writes and how often. None of it changes the weights, so it may change when a run is resumed."""

    log_every_steps: int = 50
    """Steps that one line of log.jsonl averages over."""
    checkpoint_every_steps: int = 500
    """Steps between checkpoints; a killed run loses at most that many."""
    samples_every_steps: int = 1000
    """Steps between pictures in samples/."""
    keep_checkpoints: int = 3
    """How many of the last checkpoints stay on disk."""
    tensorboard: bool = False
    """Whether to write TensorBoard's event files too, into tensorboard/ in the run's folder."""

    def __post_init__(self) -> None:
        for name in ("log_every_steps", "checkpoint_every_steps", "samples_every_steps", "keep_checkpoints"):
            expect(getattr(self, name) >= 1, f"output.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides what a run's weights become."""

    seed: int = 0
    """Seed of initial weights, data order, latents and augmentation."""
    steps: int = 10_000
    """Training steps: by default one update of the critic, one of the generator. May be raised later to go on."""
    batch_size: int = 64
    """Real samples, and generated samples, of one update; over all processes together."""
    accumulate_batches: int = 1
    """Parts into which a batch is cut to fit into memory; gradients add up over them before an update."""
    precision: Precision = "float32"
    """bfloat16: the networks' products in bfloat16, weights and penalties in float32 (mixed precision)."""
    data: DataConfig = field(default_factory=DataConfig)
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    regularisers: RegularisersConfig = field(default_factory=RegularisersConfig)
    optimisers: OptimisersConfig = field(default_factory=OptimisersConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    progressive: ProgressiveConfig = field(default_factory=ProgressiveConfig)
    diagnosis: DiagnosisConfig = field(default_factory=DiagnosisConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        expect_seed("seed", self.seed)
        for name in ("steps", "batch_size", "accumulate_batches"):
            expect(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        self._check_together()

    def _check_together(self) -> None:
        """Refuse parts that contradict each other, and settings that nothing would look at."""
        self._check_heads()
        loss, regularisers, networks = self.loss.name, self.regularisers, self.networks
        expect(
            regularisers.roth_gamma.most == 0.0 or loss in ("minimax", "modified-minimax"),
            "regularisers.roth_gamma",
            regularisers.roth_gamma,
            f"0 with loss {loss}: its weights are probabilities, which only the logits of minimax and modified-minimax "
            "give",
        )
        expect(
            self.augmentation.ada.target == 0.0 or loss in SIGNED_LOSSES,
            "augmentation.ada.target",
            self.augmentation.ada.target,
            f"0 with loss {loss}, whose scores have no fixed zero to take signs by: anneal augmentation.probability "
            "instead, or use minimax, modified-minimax, hinge or least-squares",
        )
        bounds = (regularisers.weight_clip, regularisers.gradient_penalty.weight)
        gammas = (regularisers.r1_gamma.most, regularisers.r2_gamma.most)
        expect(
            loss != "wasserstein"
            or any((*bounds, *gammas))
            or networks.spectral_norm != "off"
            or networks.architecture == "custom",
            "loss.name",
            loss,
            "another one while nothing bounds the critic, whose scores would grow without end: set regularisers."
            "weight_clip (0.01), regularisers.gradient_penalty.weight (10) or networks.spectral_norm critic",
        )
        expect(
            regularisers.weight_clip == 0.0 or networks.spectral_norm == "off",
            "regularisers.weight_clip",
            regularisers.weight_clip,
            f"0 with networks.spectral_norm {networks.spectral_norm}: both bound the critic's weights, choose one",
        )
        expect(
            networks.architecture != "progressive" or self.schedule.unrolled_steps == 0,
            "schedule.unrolled_steps",
            self.schedule.unrolled_steps,
            "0 with networks.architecture progressive, whose critic changes while it grows: use another architecture",
        )

    def _check_heads(self) -> None:
        """The weights of terms that a critic's further heads add."""
        loss, networks = self.loss, self.networks
        for name, weight, there, needs in (
            (
                "classification_weight",
                loss.classification_weight,
                networks.critic_conditioning == "classifier",
                "networks.critic_conditioning classifier",
            ),
            (
                "information_weight",
                loss.information_weight,
                networks.codes.any,
                "networks.codes.categories or networks.codes.continuous",
            ),
        ):
            expect(
                there or weight == 1.0,
                f"loss.{name}",
                weight,
                f"left at 1 without {needs}, which the term belongs to",
            )
            expect(
                not there or weight > 0.0,
                f"loss.{name}",
                weight,
                f"positive with {needs}: nothing else makes samples follow what they are asked for",
            )
