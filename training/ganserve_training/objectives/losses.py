"""Adversarial losses: their options, and what the critic and the generator minimise, given scores.

N = batch, sigma = sigmoid. To add one, write a class like these; `register_loss` adds it to `--loss.name`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ganserve_training.options.checks import expect, expect_not_negative
from ganserve_training.options.registry import Registry

LOSSES: Registry[Loss] = Registry("name")
register_loss = LOSSES.register
"""Decorator that adds a class to the choices of `--loss.name`."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The adversarial loss, and the weights of the further terms.

    Scores are the critic's raw outputs; a higher score always means "more like the data".
    """

    registry: ClassVar = LOSSES
    name: ClassVar[str]
    """Adversarial loss; docs/training.md has the formulas and their papers."""
    generator_needs_real_scores: ClassVar[bool] = False
    """True if `generator` reads the scores of real samples."""
    needs_bounded_critic: ClassVar[bool] = False
    """True if scores grow without end unless a penalty or the networks bound the critic."""
    has_zero: ClassVar[bool] = False
    """True if a fixed score separates real from generated samples, as adaptive augmentation needs."""
    gives_logits: ClassVar[bool] = False
    """True if sigma(score) is the probability of "real", as Roth's penalty needs."""
    zero_sum: ClassVar[bool] = False
    """True if the generator maximises what the critic minimises."""

    classification_weight: float = 1.0
    """Weight of AC-GAN's cross-entropy in both networks' losses, with --networks.critic-conditioning classifier."""
    information_weight: float = 1.0
    """Weight of InfoGAN's mutual information in both networks' losses, where there are codes."""

    def __post_init__(self) -> None:
        for name in ("classification_weight", "information_weight"):
            expect_not_negative(f"loss.{name}", getattr(self, name))

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return what the critic minimises: scores of real and generated samples, [N] each -> scalar."""
        raise NotImplementedError

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """Return what the generator minimises: scores [N] of generated samples (and real ones, if needed) -> scalar."""
        raise NotImplementedError

    @property
    def unrolled_needs_real_scores(self) -> bool:
        """True if `unrolled_generator` reads the scores of real samples."""
        return self.generator_needs_real_scores or self.zero_sum

    def unrolled_generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """Return what the generator minimises if an unrolled critic gives the scores: like `generator`.

        In a zero-sum game it is minus the critic's whole loss (Metz et al. 2017, section 2.2), as the imagined critic's
        scores of real samples, too, depend on the generator. Without them it would learn to spoil the critic.
        """
        if not self.zero_sum:
            return self.generator(fake_scores, real_scores)
        return -self.critic(_needed(real_scores, self.name), fake_scores)

    def threshold(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the score above which a sample counts as real for the critic: scores [N] each -> scalar.

        Without a fixed zero it is halfway between the mean real and the mean generated score.
        """
        if self.has_zero:
            return real_scores.new_zeros(())
        return (real_scores.mean() + fake_scores.mean()) / 2

    def accuracy(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the critic's accuracy in [0, 1]; guessing gives one half. Scores [N] each -> scalar.

        With a fixed zero it is the share of samples on their own side of the threshold, else the share of pairs in
        which the real sample scores higher.
        """
        if not self.has_zero:
            return (real_scores > fake_scores).mean(dtype=torch.float32)
        threshold = self.threshold(real_scores, fake_scores)
        right = torch.cat([real_scores > threshold, fake_scores < threshold])
        return right.mean(dtype=torch.float32)


@register_loss
@dataclass(frozen=True, kw_only=True)
class MinimaxLoss(Loss):
    """The original, saturating game (Goodfellow et al. 2014, section 3).

    Critic: -E log sigma(D(x)) - E log(1 - sigma(D(G(z)))); generator: E log(1 - sigma(D(G(z)))), whose gradient
    vanishes where the critic is sure. The real target is 1 - smoothing / 2, as TF-GAN smooths.
    """

    name = "minimax"
    has_zero = True
    gives_logits = True
    zero_sum = True

    label_smoothing: float = 0.0
    """s, where 1 - s/2 is the critic's target for real samples (Salimans et al. 2016; TF-GAN's default is 0.25)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(0.0 <= self.label_smoothing < 1.0, "loss.label_smoothing", self.label_smoothing, "from 0 to below 1")

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the binary cross-entropy on real samples plus that on generated ones."""
        # BCE(s, t) = softplus(s) - t s = t softplus(-s) + (1 - t) softplus(s).
        real = F.softplus(real_scores) - (1.0 - self.label_smoothing / 2) * real_scores
        return real.mean() + F.softplus(fake_scores).mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return the mean log-probability of "generated"."""
        return -F.softplus(fake_scores).mean()


@register_loss
@dataclass(frozen=True, kw_only=True)
class ModifiedMinimaxLoss(MinimaxLoss):
    """Minimax with the non-saturating generator, -E log sigma(D(G(z))) (Goodfellow et al. 2014, section 3)."""

    name = "modified-minimax"
    zero_sum = False

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return the mean negative log-probability of "real"."""
        return F.softplus(-fake_scores).mean()


@register_loss
@dataclass(frozen=True, kw_only=True)
class WassersteinLoss(Loss):
    """Critic: E D(G(z)) - E D(x); generator: -E D(G(z)) (Arjovsky et al. 2017).

    It estimates the Wasserstein distance only if the critic is Lipschitz: clip its weights
    (regularisers.weight_clip) or penalise its gradient (regularisers.gradient_penalty).
    """

    name = "wasserstein"
    needs_bounded_critic = True
    zero_sum = True

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return minus the estimated distance."""
        return fake_scores.mean() - real_scores.mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return minus the mean score."""
        return -fake_scores.mean()


@register_loss
@dataclass(frozen=True, kw_only=True)
class HingeLoss(Loss):
    """Critic: E max(0, m - D(x)) + E max(0, m + D(G(z))); generator: -E D(G(z)) (Lim & Ye 2017; Miyato et al. 2018)."""

    name = "hinge"
    has_zero = True

    margin: float = 1.0
    """m: scores of real samples above it, and of generated ones below minus it, satisfy the critic; 1 in the papers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.margin > 0.0, "loss.margin", self.margin, "positive")

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return how far scores fall short of the margin, on real plus on generated samples."""
        return F.relu(self.margin - real_scores).mean() + F.relu(self.margin + fake_scores).mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return minus the mean score."""
        return -fake_scores.mean()


@register_loss
@dataclass(frozen=True, kw_only=True)
class LeastSquaresLoss(Loss):
    """Critic: E (D(x) - 1)^2 / 2 + E D(G(z))^2 / 2; generator: E (D(G(z)) - 1)^2 / 2 (Mao et al. 2017)."""

    name = "least-squares"
    has_zero = True

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return half the squared distance to the targets 1 (real) and 0 (generated)."""
        return ((real_scores - 1.0).square().mean() + fake_scores.square().mean()) / 2

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return half the squared distance to the target 1."""
        return (fake_scores - 1.0).square().mean() / 2

    def threshold(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:  # noqa: ARG002
        """Return the middle of the two targets."""
        return real_scores.new_full((), 0.5)


@register_loss
@dataclass(frozen=True, kw_only=True)
class RelativisticAverageLoss(Loss):
    """Each sample must score on its side of the other kind's mean (Jolicoeur-Martineau 2018; TF-GAN's relativistic).

    Critic: BCE(D(x) - E D(G(z)), 1) + BCE(D(G(z)) - E D(x), 0); generator: the same with targets swapped. Means
    run over the batch (of one process, and of one part where gradients are accumulated).
    """

    name = "relativistic-average"
    generator_needs_real_scores = True

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the cross-entropy of each score minus the mean score of the other kind."""
        real, fake = real_scores - fake_scores.mean(), fake_scores - real_scores.mean()
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """Return the critic's term with real and fake swapped."""
        return self.critic(fake_scores, _needed(real_scores, "relativistic average"))


@register_loss
@dataclass(frozen=True, kw_only=True)
class RelativisticPairingLoss(Loss):
    """Each real sample must score above the generated sample it is paired with.

    Critic: E softplus(-(D(x) - D(G(z)))); generator: E softplus(-(D(G(z)) - D(x))). With labels, pairs share theirs.
    Source: Huang et al. 2024, "The GAN is dead; long live the GAN!", after Jolicoeur-Martineau 2018. Converges only
    together with R1 and R2 at every step.
    """

    name = "relativistic-pairing"
    generator_needs_real_scores = True

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the mean softplus of how far each fake scores above its real partner."""
        return F.softplus(fake_scores - real_scores).mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """Return the mean softplus of how far each real sample scores above its fake partner."""
        return F.softplus(_needed(real_scores, "relativistic pairing") - fake_scores).mean()


def _needed(real_scores: Tensor | None, name: str) -> Tensor:
    if real_scores is None:
        raise ValueError(f"the {name} loss needs the real samples' scores for the generator too")
    return real_scores
