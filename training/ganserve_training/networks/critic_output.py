"""What a critic gives back. N = batch, K = labels, Q = values of InfoGAN's discrete code, V = continuous codes."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class CriticOutput(NamedTuple):
    """Scores, and what the critic's other heads read from the same features; None where there is no such head."""

    scores: Tensor
    """[N]: the higher, the more real."""
    class_logits: Tensor | None = None
    """[N, K]: the auxiliary classifier's (AC-GAN, Odena et al. 2017)."""
    code_logits: Tensor | None = None
    """[N, Q]: of InfoGAN's discrete code (Chen et al. 2016)."""
    code_values: Tensor | None = None
    """[N, V]: of InfoGAN's continuous codes, each the mean of a Gaussian with variance 1."""

    def halves(self) -> tuple[CriticOutput, CriticOutput]:
        """Of a batch of two equal parts, such as real samples and then generated ones: the output for each."""
        first, second = zip(*((None, None) if part is None else part.chunk(2) for part in self), strict=True)
        return CriticOutput(*first), CriticOutput(*second)


def as_output(raw: Tensor | CriticOutput) -> CriticOutput:
    """Return a critic without other heads gives its scores [N] alone; this is the same in the long form."""
    return raw if isinstance(raw, CriticOutput) else CriticOutput(raw)
