"""What both players minimise, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ganserve_training.config._checks import expect, expect_not_negative
from ganserve_training.config.anneal import Anneal

LossName = Literal[
    "minimax",
    "modified-minimax",
    "wasserstein",
    "hinge",
    "least-squares",
    "relativistic-average",
    "relativistic-pairing",
]
SIGNED_LOSSES: tuple[LossName, ...] = ("minimax", "modified-minimax", "hinge", "least-squares")
"""Those whose scores have a fixed zero, above which a sample counts as real."""
OptimiserName = Literal["adam", "rmsprop", "sgd"]
_EITHER = "optimisers.{generator,critic}"
"""An optimiser's configuration doesn't know whose it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """The adversarial loss, and the terms beside it."""

    name: LossName = "relativistic-pairing"
    """Which game is played; docs/training.md has the formulas and their papers."""
    label_smoothing: float = 0.0
    """minimax and modified-minimax: the discriminator's target for real samples is 1 - s/2 (TF-GAN's default s is
    0.25, Salimans et al. 2016); other losses have no targets to smooth."""
    classification_weight: float = 1.0
    """Weight of AC-GAN's cross-entropy, in both players, where critic_conditioning is classifier."""
    information_weight: float = 1.0
    """Weight of InfoGAN's mutual information, in both players, where there are codes."""

    def __post_init__(self) -> None:
        expect(0.0 <= self.label_smoothing < 1.0, "loss.label_smoothing", self.label_smoothing, "from 0 to below 1")
        smoothable = self.name in ("minimax", "modified-minimax")
        expect(
            smoothable or self.label_smoothing == 0.0,
            "loss.label_smoothing",
            self.label_smoothing,
            f"0 with loss {self.name}, which has no targets: use minimax or modified-minimax",
        )
        for name in ("classification_weight", "information_weight"):
            expect_not_negative(f"loss.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientPenaltyConfig:
    """lambda * E (|grad D(x')| / target - 1)^2 between real and generated samples (Gulrajani et al. 2017)."""

    weight: float = 0.0
    """lambda; the paper's is 10. 0: off."""
    target: float = 1.0
    """The norm that costs nothing."""
    one_sided: bool = False
    """Penalise only norms above the target (Petzka et al. 2018)."""

    def __post_init__(self) -> None:
        expect_not_negative("regularisers.gradient_penalty.weight", self.weight)
        expect(self.target > 0.0, "regularisers.gradient_penalty.target", self.target, "positive")
        for name, default in (("target", 1.0), ("one_sided", False)):
            expect(
                self.weight > 0.0 or getattr(self, name) == default,
                f"regularisers.gradient_penalty.{name}",
                getattr(self, name),
                f"left at {default} while regularisers.gradient_penalty.weight is 0, which switches the penalty off: "
                "the paper's weight is 10",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RegularisersConfig:
    """Penalties and constraints on the critic, applied at every critic step; 0 switches one off."""

    r1_gamma: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Weight of R1, gamma / 2 * E |grad D(real)|^2 (Mescheder et al. 2018)."""
    r2_gamma: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Weight of R2, the same on generated samples."""
    roth_gamma: Anneal = field(default_factory=lambda: Anneal.constant(0.0))
    """Weight of Roth et al.'s penalty: as R1 and R2, each sample weighted by how unsure the discriminator is of it."""
    gradient_penalty: GradientPenaltyConfig = field(default_factory=GradientPenaltyConfig)
    drift: float = 0.0
    """Weight of E D(real)^2, which keeps a Wasserstein critic near zero (Karras et al. 2017 use 0.001)."""
    weight_clip: float = 0.0
    """After each step every weight of the critic is cut off to [-c, c] (Arjovsky et al. 2017 use 0.01)."""

    @classmethod
    def none(cls) -> RegularisersConfig:
        """Nothing at all: R1 and R2, which are on by default, switched off too."""
        return cls(r1_gamma=Anneal.constant(0.0), r2_gamma=Anneal.constant(0.0))

    def __post_init__(self) -> None:
        for name in ("r1_gamma", "r2_gamma", "roth_gamma", "drift", "weight_clip"):
            expect_not_negative(f"regularisers.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig:
    """One network's optimiser."""

    name: OptimiserName = "adam"
    """adam (Kingma & Ba 2015), rmsprop (WGAN's), sgd (beta1 is its momentum)."""
    learning_rate: Anneal = field(default_factory=lambda: Anneal.constant(1e-3))
    """Step size."""
    beta1: float = 0.0
    """Decay of the mean of gradients; GANs train best with little or none."""
    beta2: Anneal = field(default_factory=lambda: Anneal.constant(0.99))
    """Decay of the mean of squared gradients; adam and rmsprop."""
    weight_decay: float = 0.0
    """Pull of every weight towards zero, decoupled from the gradient (Loshchilov & Hutter 2019)."""

    def __post_init__(self) -> None:
        rate, beta2, below_one = self.learning_rate, self.beta2, "at least 0 and less than 1"
        expect(rate.start > 0.0 and rate.end >= 0.0, f"{_EITHER}.learning_rate", rate, "positive")
        expect(0.0 <= self.beta1 < 1.0, f"{_EITHER}.beta1", self.beta1, below_one)
        expect(min(beta2.start, beta2.end) >= 0.0 and beta2.most < 1.0, f"{_EITHER}.beta2", beta2, below_one)
        expect_not_negative(f"{_EITHER}.weight_decay", self.weight_decay)
        expect(
            self.name != "sgd" or beta2 == Anneal.constant(0.99),
            f"{_EITHER}.beta2",
            beta2,
            "left at 0.99 with optimiser sgd, which has no mean of squared gradients: use adam or rmsprop",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimisersConfig:
    """The optimisers of both networks."""

    generator: OptimiserConfig = field(default_factory=OptimiserConfig)
    """The generator's."""
    critic: OptimiserConfig = field(default_factory=OptimiserConfig)
    """The critic's."""

    @classmethod
    def both(cls, optimiser: OptimiserConfig) -> OptimisersConfig:
        """The same for both."""
        return cls(generator=optimiser, critic=optimiser)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmaConfig:
    """The exponential moving average of the generator's weights, which is what is evaluated and exported."""

    half_life_kimg: float = 10.0
    """After this many thousand training samples an old weight counts half; 0: no averaging."""
    warm_up_fraction: float = 0.05
    """The half-life is at most this share of the samples seen so far (Karras et al. 2020); 0: no warm-up."""

    def __post_init__(self) -> None:
        expect_not_negative("ema.half_life_kimg", self.half_life_kimg)
        expect_not_negative("ema.warm_up_fraction", self.warm_up_fraction)
        expect(
            self.half_life_kimg > 0.0 or self.warm_up_fraction in (0.0, 0.05),
            "ema.warm_up_fraction",
            self.warm_up_fraction,
            "left alone while ema.half_life_kimg is 0: nothing is averaged, so nothing warms up",
        )
