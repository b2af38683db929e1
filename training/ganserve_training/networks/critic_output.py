"""The output of a critic. N = batch, K = labels, Q = values of InfoGAN's discrete code, V = continuous codes."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class CriticOutput(NamedTuple):
    """Scores, and the outputs of the critic's other heads; None where there is no such head."""

    scores: Tensor
    """[N]: a higher score means more like the data."""
    class_logits: Tensor | None = None
    """[N, K]: output of the auxiliary classifier (AC-GAN, Odena et al. 2017)."""
    code_logits: Tensor | None = None
    """[N, Q]: logits of InfoGAN's discrete code (Chen et al. 2016)."""
    code_values: Tensor | None = None
    """[N, V]: means of InfoGAN's continuous codes, as Gaussians with variance 1."""

    def halves(self) -> tuple[CriticOutput, CriticOutput]:
        """Return the outputs of the two halves of a batch, such as real and then generated samples."""
        first, second = zip(*((None, None) if part is None else part.chunk(2) for part in self), strict=True)
        return CriticOutput(*first), CriticOutput(*second)


def as_output(raw: Tensor | CriticOutput) -> CriticOutput:
    """Return a critic's output as a CriticOutput; a critic without other heads returns its scores [N] alone."""
    return raw if isinstance(raw, CriticOutput) else CriticOutput(raw)
