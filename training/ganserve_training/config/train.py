"""All options that determine a run's weights."""

from dataclasses import dataclass, field
from typing import Literal

from ganserve_training.data.config import DataConfig
from ganserve_training.data.sources.digits import DigitsConfig
from ganserve_training.diagnosis.config import DiagnosisConfig
from ganserve_training.networks.config import NetworksConfig
from ganserve_training.networks.convolutional import ConvolutionalConfig
from ganserve_training.networks.ema import EmaConfig
from ganserve_training.objectives.augmentation import AugmentationConfig
from ganserve_training.objectives.losses import Loss, RelativisticPairingLoss
from ganserve_training.objectives.penalties import RegularisersConfig
from ganserve_training.options.checks import expect_at_least, expect_choices, expect_seed, refusal
from ganserve_training.run.optimisers import OptimisersConfig

Precision = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels-last"]
OnTrouble = Literal["heal", "stop", "continue"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """Alternation of updates and length of the burn-in."""

    burn_in_steps: int = 5000
    """Steps over which values with a start and an end move from one to the other, along half a cosine. Give it only
    where some value has two ends."""
    critic_steps: int = 1
    """Updates of the critic in one step, each on a new batch (WGAN's n_critic)."""
    generator_steps: int = 1
    """Updates of the generator in one step."""
    unrolled_steps: int = 0
    """Updates of the critic that the generator looks ahead, with gradients through them (unrolled GAN, Metz et al.
    2017); 0: off."""

    def __post_init__(self) -> None:
        expect_at_least(1, self, "schedule", "burn_in_steps", "critic_steps", "generator_steps")
        expect_at_least(0, self, "schedule", "unrolled_steps")

    def burn_in_progress(self, step: int) -> float:
        """Return the share of the burn-in that has passed at `step`, in [0, 1]."""
        return min(1.0, step / self.burn_in_steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputConfig:
    """Files that a run writes, and how often; none affects the weights, so all may change when a run is resumed."""

    log_every_steps: int = 50
    """Steps between lines of log.jsonl; each line has the averages over them."""
    checkpoint_every_steps: int = 500
    """Steps between checkpoints; a run that is killed loses at most that many."""
    samples_every_steps: int = 1000
    """Steps between pictures of samples, in the run's samples/."""
    keep_checkpoints: int = 3
    """Number of the newest checkpoints to keep."""
    tensorboard: bool = False
    """Also write TensorBoard's event files, into the run's tensorboard/."""

    def __post_init__(self) -> None:
        names = ("log_every_steps", "checkpoint_every_steps", "samples_every_steps", "keep_checkpoints")
        expect_at_least(1, self, "output", *names)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """All options that determine a run's weights."""

    seed: int = 0
    """Seed of the initial weights, the order of the data, latents and augmentation."""
    steps: int = 10_000
    """Training steps, by default of one critic and one generator update each. Raise it to train longer."""
    batch_size: int = 64
    """Real samples in one update, and as many generated ones; over all processes together."""
    accumulate_batches: int = 1
    """Parts into which a batch is split to fit into memory; their gradients are added before an update."""
    precision: Precision = "float32"
    """bfloat16: mixed precision, with the networks' products in bfloat16 and weights and penalties in float32."""
    memory_format: MemoryFormat = "contiguous"
    """Order of images and convolutions' weights in memory. channels-last: faster for most convolutions without groups;
    the weights differ by rounding."""
    on_trouble: OnTrouble = "heal"
    """Action when the diagnosis finds that training has failed. heal: go back to the last healthy checkpoint,
    change what may have caused it and go on, at most three times. stop: end the run. continue: only report it."""
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

    @property
    def look_interval(self) -> int:
        """Steps between two looks of the diagnosis."""
        batch = min(self.networks.batch_sizes, default=self.batch_size)
        return self.diagnosis.interval(self.steps, batch * self.schedule.critic_steps)

    def __post_init__(self) -> None:
        expect_seed("seed", self.seed)
        expect_choices(self, "")
        expect_at_least(1, self, "", "steps", "batch_size", "accumulate_batches")
        self.data.check_complete()
        self.networks.check_complete()
        self._check_critic()
        self._check_lazy_updates()
        self._check_heads()

    def _check_critic(self) -> None:
        """Refuse a critic, or a loss, that lacks what other parts need of it."""
        loss, penalties, networks = self.loss, self.regularisers, self.networks
        ada, clip, unrolled = self.augmentation.ada.target, penalties.weight_clip, self.schedule.unrolled_steps
        for penalty in penalties.penalties:
            if penalty.needs_logits and not loss.gives_logits:
                problem = f"needs scores that are logits, and those of --loss.name {loss.name} are not"
                raise penalties.refusal(penalty, problem, "Use --loss.name minimax or modified-minimax")
        if ada and not loss.has_zero:
            problem = f"needs scores with a fixed zero, and those of --loss.name {loss.name} have none"
            fix = "Anneal --augmentation.probability.end instead, or use --loss.name modified-minimax or hinge"
            raise refusal("augmentation.ada.target", ada, problem, fix)
        if loss.needs_bounded_critic and not (penalties.bounds_critic or networks.bounds_critic):
            fix = (
                "Add --regularisers.gradient-penalty.weight 10, --regularisers.weight-clip 0.01 or "
                "--networks.spectral-norm critic"
            )
            raise refusal("loss.name", loss.name, "needs a bounded critic", fix)
        if clip and networks.spectral_norm != "off":
            problem = f"bounds the critic's weights, as --networks.spectral-norm {networks.spectral_norm} does"
            raise refusal("regularisers.weight_clip", clip, problem, "Leave out either")
        if unrolled and networks.grows:
            problem = "needs a critic that does not grow"
            raise refusal("schedule.unrolled_steps", unrolled, problem, "Choose another --networks.architecture")
        if unrolled and not self.optimisers.critic.can_unroll:
            problem = f"can't look ahead through --optimisers.critic.name {self.optimisers.critic.name}"
            raise refusal("schedule.unrolled_steps", unrolled, problem, "Use --optimisers.critic.name adam")

    def _check_lazy_updates(self) -> None:
        """Refuse updates by penalties alone where the loss, or the generator, can't have them."""
        penalties, path = self.regularisers, "regularisers.own_updates"
        if penalties.own_updates and self.loss.generator_needs_real_scores:
            problem = f"is for losses that judge each sample alone, and --loss.name {self.loss.name} compares two"
            raise refusal(path, True, problem, "Leave it out, or use --loss.name modified-minimax")
        if penalties.own_updates and self.schedule.unrolled_steps:
            raise refusal(path, True, "can't be unrolled", "Leave it out, or use --schedule.unrolled-steps 0")
        weight = penalties.path_length.weight
        if weight and not self.networks.has_styles:
            problem = f"needs style vectors, which --networks.architecture {self.networks.architecture} lacks"
            fix = "Leave it out, or use --networks.architecture stylegan2"
            raise refusal("regularisers.path_length.weight", weight, problem, fix)

    def _check_heads(self) -> None:
        """Refuse weights for heads that the critic lacks, and a weight of 0 for those it has."""
        classifier, codes = self.networks.critic_conditioning == "classifier", self.networks.codes.any
        for name, there, needs in (
            ("classification_weight", classifier, "--networks.critic-conditioning classifier"),
            ("information_weight", codes, "--networks.codes.categories or --networks.codes.continuous"),
        ):
            weight = getattr(self.loss, name)
            if not there and weight != 1.0:
                raise refusal(f"loss.{name}", weight, f"has no effect without {needs}", "Leave it out, or add that")
            if there and weight == 0.0:
                problem = f"must be positive with {needs}"
                fix = "Without it samples do not follow their labels or codes"
                raise refusal(f"loss.{name}", weight, problem, fix)
