"""Penalties on the critic, each a small piece that composes with the others. N = batch, C, H, W = image."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from ganserve_training.config import Anneal, RegularisersConfig
from ganserve_training.schedule import anneal

Scorer = Callable[[Tensor, Tensor | None], Tensor]
"""samples [N, C, H, W], labels int64 [N] or None -> scores [N]; augmentation included."""


class CriticPass:
    """The critic's view of one batch of real and one of generated samples, kept for the loss and the penalties.

    Real and generated samples go through the critic as one batch, so a gradient with respect to either costs one pass.
    Gradients are those with respect to the samples before augmentation.

    Args:
        scorer: the critic, behind the augmentation; it must score each sample alone.
        real: real samples [N, C, H, W].
        fake: generated samples [N, C, H, W], without a graph.
        labels: int64 [N], shared by both, or None.
        with_gradients: whether gradients will be asked for.
    """

    def __init__(
        self, scorer: Scorer, real: Tensor, fake: Tensor, labels: Tensor | None, *, with_gradients: bool
    ) -> None:
        self.scorer = scorer
        self.labels = labels
        self._samples = torch.cat([real, fake]).requires_grad_(with_gradients)
        self._scores = scorer(self._samples, None if labels is None else torch.cat([labels, labels]))
        self.real_scores, self.fake_scores = self._scores.chunk(2)
        self._gradients: Tensor | None = None
        self._squared_norms: tuple[Tensor, Tensor] | None = None

    def input_gradients(self) -> tuple[Tensor, Tensor]:
        """Gradient of each score by its own sample, differentiable: real and generated, [N, C, H, W] each."""
        real, fake = self._input_gradients().chunk(2)
        return real, fake

    def squared_gradient_norms(self) -> tuple[Tensor, Tensor]:
        """Squared Euclidean norm of each sample's gradient, differentiable: real and generated, [N] each."""
        if self._squared_norms is None:
            real, fake = self._input_gradients().square().flatten(1).sum(dim=1).chunk(2)
            self._squared_norms = (real, fake)
        return self._squared_norms

    def _input_gradients(self) -> Tensor:
        if self._gradients is None:
            (self._gradients,) = torch.autograd.grad(self._scores.sum(), self._samples, create_graph=True)
        return self._gradients


class Regulariser(Protocol):
    """A term that the critic minimises beside its loss."""

    name: str
    """What the log calls it."""
    needs_input_gradients: bool
    """Whether it looks at the gradients of a :class:`CriticPass`."""

    def penalty(self, critic_pass: CriticPass, progress: float) -> Tensor:
        """The weighted term, a scalar; ``progress`` is the share of the burn-in that has passed, in [0, 1]."""
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


def build_regularisers(config: RegularisersConfig) -> tuple[Regulariser, ...]:
    """The penalties that ``config`` switches on."""
    candidates: list[tuple[Anneal, Regulariser]] = [
        (config.r1_gamma, R1(config.r1_gamma)),
        (config.r2_gamma, R2(config.r2_gamma)),
    ]
    return tuple(piece for gamma, piece in candidates if max(gamma.start, gamma.end) > 0.0)
