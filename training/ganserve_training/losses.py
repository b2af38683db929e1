"""Adversarial losses, by name: what the critic and the generator minimise, given scores. N = batch."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ganserve_training.config import LossConfig


class AdversarialLoss(Protocol):
    """One game. Scores are the critic's raw outputs; higher always means "more like the data"."""

    generator_needs_real_scores: bool
    """Whether :meth:`generator` looks at the scores of real samples."""

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """What the critic minimises: scores of real and generated samples, [N] each -> scalar."""
        ...

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """What the generator minimises: scores [N] of generated samples (and real ones, if needed) -> scalar."""
        ...

    def accuracy(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """How often the critic is right, in [0, 1]; one half: it can't tell. Scores [N] each -> scalar."""
        ...


class RelativisticPairingLoss:
    """Each real sample must score above the generated sample it is paired with.

    Critic: E softplus(-(D(x) - D(G(z)))); generator: E softplus(-(D(G(z)) - D(x))). With labels, pairs share theirs.
    Source: Huang et al. 2024, "The GAN is dead; long live the GAN!", after Jolicoeur-Martineau 2018. Converges only
    together with R1 and R2 at every step.
    """

    generator_needs_real_scores = True

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Mean softplus of how far each fake scores above its real partner."""
        return F.softplus(fake_scores - real_scores).mean()

    def generator(self, fake_scores: Tensor, real_scores: Tensor | None) -> Tensor:
        """Mean softplus of how far each real scores above its fake partner."""
        if real_scores is None:
            raise ValueError("the relativistic pairing loss needs the real samples' scores for the generator too")
        return F.softplus(real_scores - fake_scores).mean()

    def accuracy(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Share of pairs in which the real sample scores higher."""
        return (real_scores > fake_scores).to(torch.float32).mean()


def build_loss(config: LossConfig) -> AdversarialLoss:
    """The loss that ``config`` names."""
    return _LOSSES[config.name]()


_LOSSES: dict[str, type[AdversarialLoss]] = {"relativistic-pairing": RelativisticPairingLoss}
