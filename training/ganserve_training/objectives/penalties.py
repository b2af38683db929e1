"""Penalties and constraints on the critic: their options, and the terms they add. N = batch, M = scores.

To add one, write a class like these, a field of `RegularisersConfig` and a line of its `penalties`. A package of your
own registers its class with `register_penalty` and gives an instance in `RegularisersConfig(more=(...))`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from ganserve_training.errors import ConfigError
from ganserve_training.objectives.critic_pass import CriticPass
from ganserve_training.objectives.style_training import PathLengthConfig
from ganserve_training.options.anneal import Anneal
from ganserve_training.options.checks import expect, expect_not_negative, refusal
from ganserve_training.options.registry import Registry
from ganserve_training.run.random_state import Noise

PENALTIES: Registry[Penalty] = Registry("name")
register_penalty = PENALTIES.register
"""Decorator that allows instances of a class in `RegularisersConfig.more`."""
_OFF = Anneal.constant(0.0)


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """A term that the critic minimises together with its loss."""

    registry: ClassVar = PENALTIES
    name: ClassVar[str]
    """Name of its column in the log."""
    option: ClassVar[str] = "more"
    """The option of `RegularisersConfig` that switches it on."""
    needs_input_gradients: ClassVar[bool] = False
    """True if it reads the gradients of a `CriticPass`."""
    needs_logits: ClassVar[bool] = False
    """True if it reads scores as logits."""
    needs_unmixed_samples: ClassVar[bool] = False
    """True if batch normalisation in the critic, which mixes samples, makes it meaningless."""
    bounds_critic: ClassVar[bool] = True
    """True if it keeps the scores of a Wasserstein critic from growing without end."""

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:
        """Return the weighted term, a scalar, after `progress` in [0, 1] of the burn-in."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class R1(Penalty):
    """gamma / 2 * E |grad D(x)|^2 over real samples (Mescheder et al. 2018)."""

    name = "r1"
    option = "r1_gamma"
    needs_input_gradients = True

    generated: ClassVar[bool] = False
    """True if it is over generated samples."""

    gamma: Anneal

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:  # noqa: ARG002
        """Return half gamma times the mean squared norm of the gradients."""
        squares = critic_pass.squared_gradient_norms[self.generated]
        return squares.mean() * (self.gamma.at(progress) / 2)


@dataclass(frozen=True, kw_only=True)
class R2(R1):
    """gamma / 2 * E |grad D(G(z))|^2 over generated samples (Mescheder et al. 2018)."""

    name = "r2"
    option = "r2_gamma"
    generated = True


@dataclass(frozen=True, kw_only=True)
class Roth(Penalty):
    """The f-GAN regulariser of Roth et al. 2017 for logits, sigma = sigmoid.

    gamma / 2 * (E (1 - sigma(D(x)))^2 |grad D(x)|^2 + E sigma(D(G(z)))^2 |grad D(G(z))|^2). It penalises the critic's
    gradient where the critic is unsure: the first-order effect of noise on its inputs, without the noise.
    """

    name = "roth"
    option = "roth_gamma"
    needs_input_gradients = True
    needs_logits = True
    bounds_critic = False

    gamma: Anneal

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:  # noqa: ARG002
        """Return half gamma times both weighted means."""
        real, fake = critic_pass.squared_gradient_norms
        real_weight = torch.sigmoid(-critic_pass.real_scores).square()
        fake_weight = torch.sigmoid(critic_pass.fake_scores).square()
        return ((real_weight * real).mean() + (fake_weight * fake).mean()) * (self.gamma.at(progress) / 2)


@dataclass(frozen=True, kw_only=True)
class GradientPenalty(Penalty):
    """lambda * E (|grad D(x')| / target - 1)^2, x' = x + a (G(z) - x), a ~ U(0, 1) (Gulrajani et al. 2017).

    Each sample has its own a and its own norm.
    """

    name = "gradient_penalty"  # It takes gradients at its own points.
    option = "gradient_penalty.weight"
    needs_unmixed_samples = True

    weight: float = 0.0
    """Weight of the penalty. 0: off; the paper uses 10."""
    target: float = 1.0
    """Norm of the gradient at which the penalty is zero."""
    one_sided: bool = False
    """Penalise only norms above the target (Petzka et al. 2018)."""

    def __post_init__(self) -> None:
        path = "regularisers.gradient_penalty"
        expect_not_negative(f"{path}.weight", self.weight)
        expect(self.target > 0.0, f"{path}.target", self.target, "positive")
        for name, default in (("target", 1.0), ("one_sided", False)):
            value = getattr(self, name)
            if self.weight == 0.0 and value != default:
                fix = f"Add --{path}.weight 10, as in the paper".replace("_", "-")
                raise refusal(f"{path}.{name}", value, "has no effect while the penalty's weight is 0", fix)

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:  # noqa: ARG002
        """Return the weighted mean over the batch."""
        real, fake = critic_pass.real_samples, critic_pass.fake_samples
        share = noise.uniform(real.shape[0]).view(-1, *(1,) * (real.ndim - 1)).to(real.dtype)
        points = torch.lerp(real, fake, share).requires_grad_()
        scores = critic_pass.scorer(points, critic_pass.labels).scores
        (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
        excess = _safe_norm(gradient.reshape(scores.shape[0], -1)) / self.target - 1.0
        if self.one_sided:
            excess = excess.clamp(min=0.0)
        return excess.square().mean() * self.weight


def _safe_norm(rows: Tensor) -> Tensor:
    """Return the Euclidean norm of each row, [M, V] -> [M]; its gradient at 0 is 0 instead of NaN."""
    squares = rows.square().sum(dim=1)
    is_zero = squares == 0.0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squares).sqrt())


@dataclass(frozen=True, kw_only=True)
class Drift(Penalty):
    """epsilon * E D(x)^2, which keeps the scores of an unanchored critic near zero (Karras et al. 2017)."""

    name = "drift"
    option = "drift"
    bounds_critic = False

    weight: float

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:  # noqa: ARG002
        """Return the weighted mean of squared real scores."""
        return critic_pass.real_scores.square().mean() * self.weight


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], bound: float) -> None:
    """Clip every weight to [-bound, bound], in place (Arjovsky et al. 2017). A bound of 0 changes nothing."""
    if bound > 0.0:
        for parameter in parameters:
            parameter.clamp_(-bound, bound)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegularisersConfig:
    """Penalties and constraints on the critic, and path length on the generator; 0 switches one off."""

    r1_gamma: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Weight of R1, gamma / 2 * E |grad D(real)|^2 (Mescheder et al. 2018)."""
    r2_gamma: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Weight of R2, gamma / 2 * E |grad D(generated)|^2 (Mescheder et al. 2018)."""
    roth_gamma: Anneal = _OFF
    """Weight of Roth et al.'s penalty (2017): R1 plus R2, with more weight on samples of which the critic is unsure."""
    gradient_penalty: GradientPenalty = field(default_factory=GradientPenalty)
    """Gradient penalty at points between real and generated samples (Gulrajani et al. 2017)."""
    drift: float = 0.0
    """Weight of E D(real)^2, which keeps a Wasserstein critic's scores near zero (Karras et al. 2017 use 0.001)."""
    weight_clip: float = 0.0
    """c: clip every weight of the critic to [-c, c] after each update (Arjovsky et al. 2017 use 0.01). 0: off."""
    interval: int = 1
    """Compute the penalties in every so many-th step only, with as many times the weight (Karras et al. 2020). 1: in
    every step."""
    own_updates: bool = False
    """Give the critic's penalties updates of their own, in every --regularisers.interval-th step, and adjust the
    optimiser's rate and betas for one more update in so many steps (lazy regularisation, Karras et al. 2020)."""
    path_length: PathLengthConfig = field(default_factory=PathLengthConfig)
    """Path length of a style-based generator."""
    more: tuple[Penalty, ...] = field(default=(), metadata={"flag": False})
    """Penalties of your own package; only in Python."""

    @classmethod
    def none(cls) -> Self:
        """Return a configuration with everything off, R1 and R2 included."""
        return cls(r1_gamma=_OFF, r2_gamma=_OFF)

    def __post_init__(self) -> None:
        for name in ("r1_gamma", "r2_gamma", "roth_gamma", "drift", "weight_clip"):
            expect_not_negative(f"regularisers.{name}", getattr(self, name))
        expect(self.interval >= 1, "regularisers.interval", self.interval, "at least 1")
        if self.own_updates and not self.penalties:
            problem = "there is no penalty that could have updates of its own"
            raise refusal(
                "regularisers.own_updates", True, problem, "Leave it out, or add --regularisers.r1-gamma.start"
            )

    @property
    def penalties(self) -> tuple[Penalty, ...]:
        """The penalties that are switched on, in the order of the log's columns."""
        candidates: list[tuple[float, Penalty]] = [
            (self.r1_gamma.most, R1(gamma=self.r1_gamma)),
            (self.r2_gamma.most, R2(gamma=self.r2_gamma)),
            (self.roth_gamma.most, Roth(gamma=self.roth_gamma)),
            (self.gradient_penalty.weight, self.gradient_penalty),
            (self.drift, Drift(weight=self.drift)),
        ]
        return (*(penalty for weight, penalty in candidates if weight > 0.0), *self.more)

    @property
    def lazy_interval(self) -> int:
        """Steps between updates by the penalties alone; 0: they have none of their own."""
        return self.interval if self.own_updates else 0

    @property
    def bounds_critic(self) -> bool:
        """True if any of them keeps the scores of a Wasserstein critic from growing without end."""
        return self.weight_clip > 0.0 or any(penalty.bounds_critic for penalty in self.penalties)

    def refusal(self, penalty: Penalty, problem: str, fix: str) -> ConfigError:
        """Return an error about one of the penalties."""
        return refusal(f"regularisers.{penalty.option}", operator.attrgetter(penalty.option)(self), problem, fix)
