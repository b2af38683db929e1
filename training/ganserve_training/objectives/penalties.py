"""Penalties and constraints on the critic: the options of each, and the term that it adds. N = batch, M = scores.

To add one, write a class like these, a field of `RegularisersConfig` and a line of its `penalties`. A package of your
own registers its class with `register_penalty` and passes an instance in `RegularisersConfig(more=(...))`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ganserve_training.objectives.critic_pass import CriticPass
from ganserve_training.options.anneal import Anneal
from ganserve_training.options.checks import expect, expect_not_negative, refusal
from ganserve_training.options.registry import Registry
from ganserve_training.run.random_state import Noise

PENALTIES: Registry[Penalty] = Registry("name")
register_penalty = PENALTIES.register
"""Makes a class one that `RegularisersConfig.more` may hold."""
_OFF = Anneal.constant(0.0)


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """A term that the critic minimises beside its loss."""

    registry: ClassVar = PENALTIES
    name: ClassVar[str]
    """What the log calls it."""
    needs_input_gradients: ClassVar[bool] = False
    """Whether it reads the gradients of a `CriticPass`."""

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:
        """Return the weighted term, a scalar.

        Args:
            critic_pass: Scores and gradients for one batch.
            progress: Share of the burn-in that has passed, in [0, 1].
            noise: Where random numbers come from.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class R1(Penalty):
    """gamma / 2 * E |grad D(x)|^2 over real samples (Mescheder et al. 2018)."""

    name = "r1"
    needs_input_gradients = True

    gamma: Anneal

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:  # noqa: ARG002
        """Return half gamma times the mean squared norm of the real samples' gradients."""
        real, _ = critic_pass.squared_gradient_norms()
        return real.mean() * (self.gamma.at(progress) / 2)


@dataclass(frozen=True, kw_only=True)
class R2(Penalty):
    """gamma / 2 * E |grad D(G(z))|^2 over generated samples (Mescheder et al. 2018)."""

    name = "r2"
    needs_input_gradients = True

    gamma: Anneal

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:  # noqa: ARG002
        """Return half gamma times the mean squared norm of the generated samples' gradients."""
        _, fake = critic_pass.squared_gradient_norms()
        return fake.mean() * (self.gamma.at(progress) / 2)


@dataclass(frozen=True, kw_only=True)
class Roth(Penalty):
    """The f-GAN regulariser of Roth et al. 2017 for logits, sigma = sigmoid.

    gamma / 2 * (E (1 - sigma(D(x)))^2 |grad D(x)|^2 + E sigma(D(G(z)))^2 |grad D(G(z))|^2): the critic's gradient is
    penalised where it is unsure, which is what noise on its inputs does to first order, without the noise.
    """

    name = "roth"
    needs_input_gradients = True

    gamma: Anneal

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:  # noqa: ARG002
        """Return half gamma times both weighted means."""
        real, fake = critic_pass.squared_gradient_norms()
        real_weight = torch.sigmoid(-critic_pass.real_scores).square()
        fake_weight = torch.sigmoid(critic_pass.fake_scores).square()
        return ((real_weight * real).mean() + (fake_weight * fake).mean()) * (self.gamma.at(progress) / 2)


@dataclass(frozen=True, kw_only=True)
class GradientPenalty(Penalty):
    """lambda * E (|grad D(x')| / target - 1)^2, x' = x + a (G(z) - x), a ~ U(0, 1) (Gulrajani et al. 2017).

    Each sample has its own a and its own norm.
    """

    name = "gradient_penalty"  # It takes gradients at points of its own.

    weight: float = 0.0
    """lambda; the paper's is 10. 0: off."""
    target: float = 1.0
    """The norm that costs nothing."""
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
    """Return euclidean norm of each row, [M, V] -> [M]; its gradient at 0 is 0 instead of NaN."""
    squares = rows.square().sum(dim=1)
    is_zero = squares == 0.0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squares).sqrt())


@dataclass(frozen=True, kw_only=True)
class Drift(Penalty):
    """epsilon * E D(x)^2, which keeps the scores of an unanchored critic near zero (Karras et al. 2017)."""

    name = "drift"

    weight: float

    def penalty(self, critic_pass: CriticPass, progress: float, noise: Noise) -> Tensor:  # noqa: ARG002
        """Return the weighted mean of squared real scores."""
        return critic_pass.real_scores.square().mean() * self.weight


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], bound: float) -> None:
    """Cut every weight off to [-bound, bound], in place (Arjovsky et al. 2017); bound 0: leave them."""
    if bound > 0.0:
        for parameter in parameters:
            parameter.clamp_(-bound, bound)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegularisersConfig:
    """Penalties and constraints on the critic, applied at every critic step; 0 switches one off."""

    r1_gamma: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Weight of R1, gamma / 2 * E |grad D(real)|^2 (Mescheder et al. 2018)."""
    r2_gamma: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Weight of R2, the same on generated samples."""
    roth_gamma: Anneal = _OFF
    """Weight of Roth et al.'s penalty: as R1 and R2, each sample weighted by how unsure the discriminator is of it."""
    gradient_penalty: GradientPenalty = field(default_factory=GradientPenalty)
    """The gradient penalty between real and generated samples."""
    drift: float = 0.0
    """Weight of E D(real)^2, which keeps a Wasserstein critic near zero (Karras et al. 2017 use 0.001)."""
    weight_clip: float = 0.0
    """After each step every weight of the critic is cut off to [-c, c] (Arjovsky et al. 2017 use 0.01)."""
    more: tuple[Penalty, ...] = field(default=(), metadata={"flag": False})
    """Penalties of your own package, from Python alone."""

    @classmethod
    def none(cls) -> RegularisersConfig:
        """Return none at all: R1 and R2, which are on by default, are off too."""
        return cls(r1_gamma=_OFF, r2_gamma=_OFF)

    def __post_init__(self) -> None:
        for name in ("r1_gamma", "r2_gamma", "roth_gamma", "drift", "weight_clip"):
            expect_not_negative(f"regularisers.{name}", getattr(self, name))

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
    def bounds_critic(self) -> bool:
        """Whether any of them may keep a Wasserstein critic's scores from growing without end."""
        gammas = (self.r1_gamma.most, self.r2_gamma.most)
        return any((self.weight_clip, self.gradient_penalty.weight, *gammas, self.more))
