"""Adversarial losses, by name: what the critic and the generator minimise, given scores. N = batch, sigma = sigmoid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ganserve_training.config import LossConfig, LossName


class AdversarialLoss(Protocol):
    """One game. Scores are the critic's raw outputs; higher always means "more like the data"."""

    generator_needs_real_scores: bool
    """Whether `generator` looks at the scores of real samples."""
    relativistic: bool
    """Whether only differences between real and generated scores mean anything."""

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """What the critic minimises: scores of real and generated samples, [N] each -> scalar."""
        ...

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """What the generator minimises: scores [N] of generated samples (and real ones, if needed) -> scalar."""
        ...

    def threshold(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The score above which the critic takes a sample for real. Scores [N] each -> scalar."""
        ...

    def accuracy(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """How often the critic is right, in [0, 1]; one half: it can't tell. Scores [N] each -> scalar."""
        ...


class _Logits:
    """Scores are logits of "this is real": zero divides real from generated."""

    generator_needs_real_scores = False
    relativistic = False

    def threshold(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:  # noqa: ARG002
        """Zero: even odds."""
        return real_scores.new_zeros(())

    def accuracy(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Mean of the shares of real and of generated samples on their own side of the threshold."""
        threshold = self.threshold(real_scores, fake_scores)
        right = torch.cat([real_scores > threshold, fake_scores < threshold])
        return right.mean(dtype=torch.float32)


class _Unanchored:
    """Scores are defined up to a constant: the midpoint of both means divides real from generated."""

    def threshold(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Halfway between the mean real and the mean generated score."""
        return (real_scores.mean() + fake_scores.mean()) / 2

    def accuracy(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Share of pairs in which the real sample scores higher."""
        return (real_scores > fake_scores).mean(dtype=torch.float32)


class MinimaxLoss(_Logits):
    """The original, saturating game (Goodfellow et al. 2014, section 3).

    Critic: -E log sigma(D(x)) - E log(1 - sigma(D(G(z)))); generator: E log(1 - sigma(D(G(z)))), whose gradient
    vanishes where the critic is sure. The real target is 1 - smoothing / 2, as TF-GAN smooths.
    """

    def __init__(self, config: LossConfig) -> None:
        self._real_target = 1.0 - config.label_smoothing / 2

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Binary cross-entropy of both kinds, added."""
        # BCE(s, t) = softplus(s) - t s = t softplus(-s) + (1 - t) softplus(s).
        real = F.softplus(real_scores) - self._real_target * real_scores
        return real.mean() + F.softplus(fake_scores).mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Mean log-probability that the critic gives to "generated"."""
        return -F.softplus(fake_scores).mean()


class ModifiedMinimaxLoss(MinimaxLoss):
    """The same critic with the non-saturating generator, -E log sigma(D(G(z))) (Goodfellow et al. 2014, section 3)."""

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Mean negative log-probability that the critic gives to "real"."""
        return F.softplus(-fake_scores).mean()


class WassersteinLoss(_Unanchored):
    """Critic: E D(G(z)) - E D(x); generator: -E D(G(z)) (Arjovsky et al. 2017).

    An estimate of the Wasserstein distance only for a critic that is kept Lipschitz: clip its weights
    (regularisers.weight_clip) or penalise its gradient (regularisers.gradient_penalty).
    """

    generator_needs_real_scores = False
    relativistic = False

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Minus the estimated distance."""
        return fake_scores.mean() - real_scores.mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Minus the mean score."""
        return -fake_scores.mean()


class HingeLoss(_Logits):
    """Critic: E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))); generator: -E D(G(z)) (Lim & Ye 2017; Miyato et al. 2018)."""

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """How far scores fall short of a margin of 1, added over both kinds."""
        return F.relu(1.0 - real_scores).mean() + F.relu(1.0 + fake_scores).mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Minus the mean score."""
        return -fake_scores.mean()


class LeastSquaresLoss(_Logits):
    """Critic: E (D(x) - 1)^2 / 2 + E D(G(z))^2 / 2; generator: E (D(G(z)) - 1)^2 / 2 (Mao et al. 2017)."""

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Half the squared distance to the targets 1 and 0, added over both kinds."""
        return ((real_scores - 1.0).square().mean() + fake_scores.square().mean()) / 2

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:  # noqa: ARG002
        """Half the squared distance to the target 1."""
        return (fake_scores - 1.0).square().mean() / 2

    def threshold(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:  # noqa: ARG002
        """Halfway between the targets."""
        return real_scores.new_full((), 0.5)


class RelativisticAverageLoss(_Unanchored):
    """Each sample must score on its side of the other kind's mean (Jolicoeur-Martineau 2018; TF-GAN's relativistic).

    Critic: BCE(D(x) - E D(G(z)), 1) + BCE(D(G(z)) - E D(x), 0); generator: the same with targets swapped. Means
    run over the batch (of one process, and of one part where gradients are accumulated).
    """

    generator_needs_real_scores = True
    relativistic = True

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Real above the mean fake, fake below the mean real."""
        real, fake = real_scores - fake_scores.mean(), fake_scores - real_scores.mean()
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """Fake above the mean real, real below the mean fake."""
        return self.critic(fake_scores, _needed(real_scores, "relativistic average"))


class RelativisticPairingLoss(_Unanchored):
    """Each real sample must score above the generated sample it is paired with.

    Critic: E softplus(-(D(x) - D(G(z)))); generator: E softplus(-(D(G(z)) - D(x))). With labels, pairs share theirs.
    Source: Huang et al. 2024, "The GAN is dead; long live the GAN!", after Jolicoeur-Martineau 2018. Converges only
    together with R1 and R2 at every step.
    """

    generator_needs_real_scores = True
    relativistic = True

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Mean softplus of how far each fake scores above its real partner."""
        return F.softplus(fake_scores - real_scores).mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """Mean softplus of how far each real scores above its fake partner."""
        return F.softplus(_needed(real_scores, "relativistic pairing") - fake_scores).mean()


def _needed(real_scores: Tensor | None, name: str) -> Tensor:
    if real_scores is None:
        raise ValueError(f"the {name} loss needs the real samples' scores for the generator too")
    return real_scores


def build_loss(config: LossConfig) -> AdversarialLoss:
    """The loss that `config` names."""
    return _LOSSES[config.name](config)


_LOSSES: dict[LossName, Callable[[LossConfig], AdversarialLoss]] = {
    "minimax": MinimaxLoss,
    "modified-minimax": ModifiedMinimaxLoss,
    "wasserstein": lambda _: WassersteinLoss(),
    "hinge": lambda _: HingeLoss(),
    "least-squares": lambda _: LeastSquaresLoss(),
    "relativistic-average": lambda _: RelativisticAverageLoss(),
    "relativistic-pairing": lambda _: RelativisticPairingLoss(),
}
