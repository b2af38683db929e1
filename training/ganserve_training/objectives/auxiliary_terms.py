"""Terms that a critic's further heads add to both networks' losses. N = batch, K = classes, V = continuous codes."""

from collections.abc import Sequence
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

    def terms(self, outputs: Sequence[CriticOutput], labels: Tensor | None, codes: Codes) -> dict[str, Tensor]:
        """Return AC-GAN's term on all outputs, which have the same labels, and InfoGAN's on the last, which has codes.

        The critic's outputs are for real and then for generated samples, the generator's for generated ones.
        """
        terms = {}
        classified = [term for output in outputs if (term := classification_term(output, labels)) is not None]
        if classified:
            terms["classification"] = sum(classified[1:], classified[0]) * self._loss.classification_weight
        if (informed := information_term(outputs[-1], codes)) is not None:
            terms["information"] = informed * self._loss.information_weight
        return terms
