"""Penalties and constraints on the critic, each a small piece that composes with the others. N = batch, M = scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from ganserve_training.config import Anneal, GradientPenaltyConfig, RegularisersConfig
from ganserve_training.config.annealing import anneal
from ganserve_training.objectives.critic_pass import CriticPass
from ganserve_training.run.random_state import Noise


class Regulariser(Protocol):
    """A term that the critic minimises beside its loss."""

    name: str
    """What the log calls it."""
    needs_input_gradients: bool
    """Whether it looks at the gradients of a `CriticPass`."""

    def penalty(self, critic_pass: CriticPass, progress: float) -> Tensor:
        """The weighted term, a scalar; `progress` is the share of the burn-in that has passed, in [0, 1]."""
        ...


class R1:
    """gamma / 2 * E |grad D(x)|^2 over real samples (Mescheder et al. 2018)."""

    name = "r1"
    needs_input_gradients = True

    def __init__(self, gamma: Anneal) -> None:
        self._gamma = gamma

    def penalty(self, critic_pass: CriticPass, progress: float) -> Tensor:
        """Half gamma times the mean squared norm of the real samples' gradients."""
        real, _ = critic_pass.squared_gradient_norms()
        return real.mean() * (anneal(self._gamma, progress) / 2)


class R2:
    """gamma / 2 * E |grad D(G(z))|^2 over generated samples (Mescheder et al. 2018)."""

    name = "r2"
    needs_input_gradients = True

    def __init__(self, gamma: Anneal) -> None:
        self._gamma = gamma

    def penalty(self, critic_pass: CriticPass, progress: float) -> Tensor:
        """Half gamma times the mean squared norm of the generated samples' gradients."""
        _, fake = critic_pass.squared_gradient_norms()
        return fake.mean() * (anneal(self._gamma, progress) / 2)


class Roth:
    """The f-GAN regulariser of Roth et al. 2017 for logits, sigma = sigmoid.

    gamma / 2 * (E (1 - sigma(D(x)))^2 |grad D(x)|^2 + E sigma(D(G(z)))^2 |grad D(G(z))|^2): the critic's gradient is
    penalised where it is unsure, which is what noise on its inputs does to first order, without the noise.
    """

    name = "roth"
    needs_input_gradients = True

    def __init__(self, gamma: Anneal) -> None:
        self._gamma = gamma

    def penalty(self, critic_pass: CriticPass, progress: float) -> Tensor:
        """Half gamma times both weighted means."""
        real, fake = critic_pass.squared_gradient_norms()
        real_weight = torch.sigmoid(-critic_pass.real_scores).square()
        fake_weight = torch.sigmoid(critic_pass.fake_scores).square()
        return ((real_weight * real).mean() + (fake_weight * fake).mean()) * (anneal(self._gamma, progress) / 2)


class GradientPenalty:
    """lambda * E (|grad D(x')| / target - 1)^2, x' = x + a (G(z) - x), a ~ U(0, 1) (Gulrajani et al. 2017).

    Each sample has its own a and its own norm. One-sided: only norms above the target cost (Petzka et al. 2018).
    """

    name = "gradient_penalty"
    needs_input_gradients = False  # It takes gradients at points of its own.

    def __init__(self, config: GradientPenaltyConfig, noise: Noise) -> None:
        self._config = config
        self._noise = noise

    def penalty(self, critic_pass: CriticPass, progress: float) -> Tensor:  # noqa: ARG002
        """The weighted mean over the batch."""
        real, fake = critic_pass.real_samples, critic_pass.fake_samples
        share = self._noise.uniform(real.shape[0]).view(-1, *(1,) * (real.ndim - 1)).to(real.dtype)
        points = torch.lerp(real, fake, share).requires_grad_()
        scores = critic_pass.scorer(points, critic_pass.labels).scores
        (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
        excess = _safe_norm(gradient.reshape(scores.shape[0], -1)) / self._config.target - 1.0
        if self._config.one_sided:
            excess = excess.clamp(min=0.0)
        return excess.square().mean() * self._config.weight


def _safe_norm(rows: Tensor) -> Tensor:
    """Euclidean norm of each row, [M, V] -> [M]; its gradient at 0 is 0 instead of NaN."""
    squares = rows.square().sum(dim=1)
    is_zero = squares == 0.0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, squares).sqrt())


class Drift:
    """epsilon * E D(x)^2, which keeps the scores of an unanchored critic near zero (Karras et al. 2017)."""

    name = "drift"
    needs_input_gradients = False

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def penalty(self, critic_pass: CriticPass, progress: float) -> Tensor:  # noqa: ARG002
        """The weighted mean of squared real scores."""
        return critic_pass.real_scores.square().mean() * self._weight


@torch.no_grad()
def clip_weights(parameters: Iterable[Tensor], bound: float) -> None:
    """Cut every weight off to [-bound, bound], in place (Arjovsky et al. 2017); bound 0: leave them."""
    if bound > 0.0:
        for parameter in parameters:
            parameter.clamp_(-bound, bound)


def build_regularisers(config: RegularisersConfig, noise: Noise) -> tuple[Regulariser, ...]:
    """The penalties that `config` switches on.

    Args:
        config: Their weights.
        noise: Where random points come from.
    """
    candidates: list[tuple[float, Regulariser]] = [
        (config.r1_gamma.most, R1(config.r1_gamma)),
        (config.r2_gamma.most, R2(config.r2_gamma)),
        (config.roth_gamma.most, Roth(config.roth_gamma)),
        (config.gradient_penalty.weight, GradientPenalty(config.gradient_penalty, noise)),
        (config.drift, Drift(config.drift)),
    ]
    return tuple(piece for weight, piece in candidates if weight > 0.0)
