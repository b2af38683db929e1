"""Everything that decides what a run's weights become."""

from dataclasses import dataclass, field
from typing import Literal

from ganserve_training.data.config import DataConfig
from ganserve_training.data.sources.digits import DigitsConfig
from ganserve_training.diagnosis.config import DiagnosisConfig
from ganserve_training.networks.config import NetworksConfig
from ganserve_training.networks.convolutional import ConvolutionalConfig
from ganserve_training.networks.custom import CustomConfig
from ganserve_training.networks.ema import EmaConfig
from ganserve_training.networks.progressive import ProgressiveConfig
from ganserve_training.objectives.augmentation import AugmentationConfig
from ganserve_training.objectives.losses import Loss, RelativisticPairingLoss, WassersteinLoss
from ganserve_training.objectives.penalties import RegularisersConfig
from ganserve_training.options.checks import expect, expect_seed, refusal
from ganserve_training.run.optimisers import OptimisersConfig

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """How the players alternate, and how annealed values (start, end) move."""

    burn_in_steps: int = 5000
    """Steps over which annealed values go from start to end, along half a cosine; an error where none is annealed."""
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
        expect(self.unrolled_steps >= 0, "schedule.unrolled_steps", self.unrolled_steps, "0 or more")

    def burn_in_progress(self, step: int) -> float:
        """Return the share of the burn-in that has passed at `step`, in [0, 1]."""
        return min(1.0, step / self.burn_in_steps)


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
    data: DataConfig = field(default_factory=DigitsConfig)
    networks: NetworksConfig = field(default_factory=ConvolutionalConfig)
    loss: Loss = field(default_factory=RelativisticPairingLoss)
    regularisers: RegularisersConfig = field(default_factory=RegularisersConfig)
    optimisers: OptimisersConfig = field(default_factory=OptimisersConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    diagnosis: DiagnosisConfig = field(default_factory=DiagnosisConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        expect_seed("seed", self.seed)
        for name in ("steps", "batch_size", "accumulate_batches"):
            expect(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        self.data.check_complete()
        self.networks.check_complete()
        self._check_loss()
        self._check_heads()
        unrolled = self.schedule.unrolled_steps
        if unrolled and isinstance(self.networks, ProgressiveConfig):
            problem = "needs a critic that does not grow"
            raise refusal("schedule.unrolled_steps", unrolled, problem, "Choose another --networks.architecture")

    def _check_loss(self) -> None:
        """Refuse a loss without what it needs, and parts that need another loss."""
        loss, penalties, networks = self.loss, self.regularisers, self.networks
        roth, ada, clip = penalties.roth_gamma, self.augmentation.ada.target, penalties.weight_clip
        if roth.most and not loss.gives_logits:
            problem = f"needs scores that are logits, and those of --loss.name {loss.name} are not"
            raise refusal("regularisers.roth_gamma", roth, problem, "Use --loss.name minimax or modified-minimax")
        if ada and not loss.has_zero:
            problem = f"needs scores with a fixed zero, and those of --loss.name {loss.name} have none"
            fix = "Anneal --augmentation.probability.end instead, or use --loss.name modified-minimax or hinge"
            raise refusal("augmentation.ada.target", ada, problem, fix)
        bounded = penalties.bounds_critic or networks.spectral_norm != "off" or isinstance(networks, CustomConfig)
        if isinstance(loss, WassersteinLoss) and not bounded:
            fix = (
                "Add --regularisers.gradient-penalty.weight 10, --regularisers.weight-clip 0.01 or "
                "--networks.spectral-norm critic"
            )
            raise refusal("loss.name", loss.name, "needs a bounded critic, whose scores else grow without end", fix)
        if clip and networks.spectral_norm != "off":
            problem = f"bounds the critic's weights, as --networks.spectral-norm {networks.spectral_norm} does"
            raise refusal("regularisers.weight_clip", clip, problem, "Leave out either")

    def _check_heads(self) -> None:
        """Refuse weights of terms that belong to heads which the critic lacks, and no weight for those it has."""
        for name, there, needs in (
            (
                "classification_weight",
                self.networks.critic_conditioning == "classifier",
                "--networks.critic-conditioning classifier",
            ),
            (
                "information_weight",
                self.networks.codes.any,
                "--networks.codes.categories or --networks.codes.continuous",
            ),
        ):
            weight = getattr(self.loss, name)
            if not there and weight != 1.0:
                raise refusal(f"loss.{name}", weight, f"has no effect without {needs}", "Leave it out, or add that")
            if there and weight == 0.0:
                problem = f"must be positive with {needs}"
                fix = "Nothing else makes samples follow what they are asked for"
                raise refusal(f"loss.{name}", weight, problem, fix)
