"""Define the work of a model's graphs: samples to draw, samples to score. N = samples, Z = values of one latent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = int | NDArray[np.int64] | None


@dataclass(kw_only=True, slots=True)  # not frozen: made for every request, and freezing takes time
class GeneratorWork:
    """Samples to draw."""

    seed: int = 0
    offset: int = 0
    """Index of the first sample."""
    truncation: float | None = None
    labels: Labels = None
    """One for all samples, int64 [N], or None: drawn from (seed, index), or the model is unconditional."""
    controls: tuple[tuple[int, float], ...] = ()
    """Latent values to set in all samples: index and value."""
    latents: NDArray[np.float32] | None = None
    """float32 [N, Z], in place of drawn ones."""

    def from_sample(self, start: int, count: int) -> GeneratorWork:
        """Return the work of `count` of these samples, from `start` on."""
        labels = self.labels[start : start + count] if isinstance(self.labels, np.ndarray) else self.labels
        latents = None if self.latents is None else self.latents[start : start + count]
        return replace(self, offset=self.offset + start, labels=labels, latents=latents)


@dataclass(kw_only=True, slots=True)  # not frozen: made for every request, and freezing takes time
class CriticWork:
    """Samples to score."""

    samples: NDArray[np.generic]
    """[N, ...] in the model's shape and type."""
    labels: Labels = None
    """One for all samples, or int64 [N]; None if the critic takes no labels."""
