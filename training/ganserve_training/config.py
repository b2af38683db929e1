"""What a training run is made of: typed, frozen, validated once. Presets are values of these classes (presets.py)."""

from dataclasses import dataclass, field
from typing import Literal

from ganserve_training.errors import ConfigError

SourceName = Literal["digits"]
ArchitectureName = Literal["convolutional"]
LossName = Literal["relativistic-pairing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Anneal:
    """A hyper-parameter that moves from one value to another over ``schedule.burn_in_steps``, then stays there."""

    start: float
    """Value at step 0."""
    end: float
    """Value after the burn-in; the same as start: constant."""

    @classmethod
    def constant(cls, value: float) -> "Anneal":
        """A hyper-parameter that stays at ``value``."""
        return cls(start=value, end=value)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What to learn."""

    source: SourceName = "digits"
    """digits: the 1,797 handwritten digits, 8 x 8 gray, that scikit-learn bundles."""
    held_out_fraction: float = 0.2
    """Share of the samples, stratified by label, that training never sees; the judge tests on them."""
    split_seed: int = 0
    """Seed of the split; runs with the same value hold out the same samples."""

    def __post_init__(self) -> None:
        _expect(0.0 < self.held_out_fraction < 1.0, "data.held_out_fraction", self.held_out_fraction, "between 0 and 1")
        _expect_seed("data.split_seed", self.split_seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworksConfig:
    """The generator and the critic."""

    architecture: ArchitectureName = "convolutional"
    """convolutional: plain convolutions and leaky ReLUs, no normalisation, any power-of-two size from 8."""
    latent_dim: int = 32
    """Z, how many standard normal values make one latent."""
    label_embedding_dim: int = 32
    """Length of the learned label vector that is concatenated to the latent."""
    generator_width: int = 32
    """Channels at the full resolution; each halving of the resolution doubles them, up to max_width."""
    critic_width: int = 32
    """The same for the critic."""
    max_width: int = 256
    """Most channels at any resolution."""

    def __post_init__(self) -> None:
        for name in ("latent_dim", "label_embedding_dim", "generator_width", "critic_width", "max_width"):
            _expect(getattr(self, name) >= 1, f"networks.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """The adversarial loss."""

    name: LossName = "relativistic-pairing"
    """relativistic-pairing: softplus(-(D(real) - D(fake))), pair by pair (Huang et al. 2024)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RegularisersConfig:
    """Penalties on the critic, computed at every critic step; 0 switches one off."""

    r1_gamma: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Weight of R1, gamma / 2 * E |grad D(real)|^2 (Mescheder et al. 2018)."""
    r2_gamma: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Weight of R2, the same on generated samples."""

    def __post_init__(self) -> None:
        for name in ("r1_gamma", "r2_gamma"):
            gamma: Anneal = getattr(self, name)
            _expect(min(gamma.start, gamma.end) >= 0.0, f"regularisers.{name}", gamma, "not negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamConfig:
    """One network's optimiser: Adam (Kingma & Ba 2015)."""

    learning_rate: Anneal = field(default_factory=lambda: Anneal.constant(1e-3))
    """Step size."""
    beta1: float = 0.0
    """Decay of the mean of gradients; GANs train best with none."""
    beta2: float = 0.99
    """Decay of the mean of squared gradients."""

    def __post_init__(self) -> None:
        rate = self.learning_rate
        _expect(rate.start > 0.0 and rate.end >= 0.0, "learning_rate", rate, "positive")
        for name in ("beta1", "beta2"):
            _expect(0.0 <= getattr(self, name) < 1.0, name, getattr(self, name), "at least 0 and less than 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimisersConfig:
    """The optimisers of both networks."""

    generator: AdamConfig = field(default_factory=AdamConfig)
    """The generator's."""
    critic: AdamConfig = field(default_factory=AdamConfig)
    """The critic's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmaConfig:
    """The exponential moving average of the generator's weights, which is what is evaluated and exported."""

    half_life_kimg: float = 10.0
    """After this many thousand training samples an old weight counts half; 0: no averaging."""
    warm_up_fraction: float = 0.05
    """The half-life is at most this share of the samples seen so far (Karras et al. 2020); 0: no warm-up."""

    def __post_init__(self) -> None:
        _expect(self.half_life_kimg >= 0.0, "ema.half_life_kimg", self.half_life_kimg, "not negative")
        _expect(self.warm_up_fraction >= 0.0, "ema.warm_up_fraction", self.warm_up_fraction, "not negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """What is done to every sample, real or generated, before the critic sees it (Zhao et al. 2020)."""

    translation_px: int = 0
    """Shift by a random whole number of pixels up to this, filled with the background; 0: off."""

    def __post_init__(self) -> None:
        _expect(self.translation_px >= 0, "augmentation.translation_px", self.translation_px, "not negative")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """How annealed values (start, end) move."""

    burn_in_steps: int = 5000
    """Steps over which they go from start to end, along half a cosine."""

    def __post_init__(self) -> None:
        _expect(self.burn_in_steps >= 1, "schedule.burn_in_steps", self.burn_in_steps, "at least 1")


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

    def __post_init__(self) -> None:
        for name in ("log_every_steps", "checkpoint_every_steps", "samples_every_steps", "keep_checkpoints"):
            _expect(getattr(self, name) >= 1, f"output.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides what a run's weights become."""

    seed: int = 0
    """Seed of initial weights, data order, latents and augmentation."""
    steps: int = 10_000
    """Training steps: one update of the critic, one of the generator. May be raised later to go on with a run."""
    batch_size: int = 64
    """Real samples, and generated samples, of one update."""
    data: DataConfig = field(default_factory=DataConfig)
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    regularisers: RegularisersConfig = field(default_factory=RegularisersConfig)
    optimisers: OptimisersConfig = field(default_factory=OptimisersConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        _expect_seed("seed", self.seed)
        _expect(self.steps >= 1, "steps", self.steps, "at least 1")
        _expect(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")


def _expect(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} must be {expected} (got {value})")


def _expect_seed(name: str, seed: int) -> None:
    _expect(0 <= seed < 2**63, name, seed, "at least 0 and less than 2^63")
