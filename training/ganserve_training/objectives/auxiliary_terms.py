"""Terms that a critic's further heads add to both players' losses. N = batch, K = classes, V = continuous codes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ganserve_training.networks.config import CodesConfig
from ganserve_training.networks.critic_output import CriticOutput
from ganserve_training.objectives.losses import Loss


@dataclass(frozen=True, slots=True)
class Codes:
    """InfoGAN's codes of a batch of generated samples."""

    categories: Tensor | None
    """int64 [N], the discrete code."""
    values: Tensor | None
    """float32 [N, V], the continuous codes."""


def classification_term(output: CriticOutput, labels: Tensor | None) -> Tensor | None:
    """Return the auxiliary classifier's cross-entropy (AC-GAN, Odena et al. 2017) for the samples' labels int64 [N].

    It is None where the critic has no such head.
    """
    if output.class_logits is None:
        return None
    if labels is None:
        raise ValueError("the auxiliary classifier needs the samples' labels")
    return F.cross_entropy(output.class_logits, labels)


def information_term(output: CriticOutput, codes: Codes) -> Tensor | None:
    """Return InfoGAN's negative bound on the mutual information, -E log q(c | G(z, c)) (Chen et al. 2016).

    The discrete code's q is the softmax of the logits, a continuous code's a normal distribution of variance 1 around
    the value that the critic reads: (c - c')^2 / 2, added over the codes. Constants are left out.
    """
    terms = []
    if output.code_logits is not None and codes.categories is not None:
        terms.append(F.cross_entropy(output.code_logits, codes.categories))
    if output.code_values is not None and codes.values is not None:
        terms.append((output.code_values - codes.values).square().sum(dim=1).mean() / 2)
    return torch.stack(terms).sum() if terms else None


class Heads:
    """The weighted terms of the critic's heads: AC-GAN's with a `classifier`, InfoGAN's with `codes`."""

    def __init__(self, loss: Loss, codes: CodesConfig, *, classifier: bool) -> None:
        self._loss = loss
        self._codes = codes
        self.names = (
            *(("classification",) if classifier else ()),
            *(("information",) if codes.any else ()),
        )
        """The terms' names in the log."""

    def read_codes(self, latents: Tensor, labels: Tensor | None) -> Codes:
        """Return the codes of generated samples: the last values of the latent, and the label."""
        values = latents[:, latents.shape[1] - self._codes.continuous :] if self._codes.continuous else None
        return Codes(labels if self._codes.categories else None, values)

    def critic_terms(
        self, real: CriticOutput, fake: CriticOutput, labels: Tensor | None, codes: Codes
    ) -> dict[str, Tensor]:
        """Return AC-GAN's term on real and generated samples, and InfoGAN's on generated ones, which have codes."""
        terms = {}
        on_real, on_fake = classification_term(real, labels), classification_term(fake, labels)
        if on_real is not None and on_fake is not None:
            terms["classification"] = (on_real + on_fake) * self._loss.classification_weight
        return terms | self._information(fake, codes)

    def generator_terms(self, fake: CriticOutput, labels: Tensor | None, codes: Codes) -> dict[str, Tensor]:
        """Return both terms on generated samples."""
        terms = {}
        on_fake = classification_term(fake, labels)
        if on_fake is not None:
            terms["classification"] = on_fake * self._loss.classification_weight
        return terms | self._information(fake, codes)

    def _information(self, fake: CriticOutput, codes: Codes) -> dict[str, Tensor]:
        term = information_term(fake, codes)
        return {} if term is None else {"information": term * self._loss.information_weight}
