"""How many of a distribution's known modes a generator reaches. N = samples, K = modes, D = values of a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

HIGH_QUALITY_SIGMAS = 3.0


class Modes(Protocol):
    """A distribution's modes, each as probable as the others."""

    @property
    def count(self) -> int:
        """K."""
        ...

    @property
    def real_high_quality(self) -> float:
        """The share of high-quality samples that the distribution itself has."""
        ...

    def assign(self, samples: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The nearest mode of each sample, int64 [N], and whether the sample is of high quality, bool [N]."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GaussianModes:
    """A mixture of equally probable normal distributions with one standard deviation."""

    centres: NDArray[np.float64]
    """float64 [K, D]."""
    sigma: float
    """Standard deviation in each dimension."""

    @property
    def count(self) -> int:
        """K."""
        return len(self.centres)

    @property
    def real_high_quality(self) -> float:
        """P(chi^2_D <= 9): 0.9889 in two dimensions."""
        from scipy.stats import chi2

        return float(chi2.cdf(HIGH_QUALITY_SIGMAS**2, self.centres.shape[1]))

    def assign(self, samples: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The nearest centre of each sample, float [N, D], and whether it lies within 3 sigma."""
        from scipy.spatial import KDTree

        distances, nearest = KDTree(self.centres).query(np.asarray(samples, np.float64))
        return nearest.astype(np.int64), distances <= HIGH_QUALITY_SIGMAS * self.sigma


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeCoverage:
    """PacGAN's three figures (Lin et al. 2018)."""

    modes: int
    """Modes that are the nearest of at least one high-quality sample."""
    high_quality: float
    """Share of high-quality samples."""
    reverse_kl: float
    """KL(generated || uniform) = ln K - H in nats, over the nearest modes of all samples; ln K: a single mode."""


def mode_coverage(samples: NDArray[Any], modes: Modes) -> ModeCoverage:
    """Count the modes that `samples` [N, ...] reach.

    The published figures are for 2,500 samples (1,000 modes: 26,000); fewer raise the KL by about (K - 1) / 2N.
    """
    nearest, high_quality = modes.assign(samples)
    counts = np.bincount(nearest, minlength=modes.count)
    return ModeCoverage(
        modes=len(np.unique(nearest[high_quality])),
        high_quality=float(high_quality.mean()),
        reverse_kl=_divergence(counts, np.full(modes.count, 1.0 / modes.count)),
    )


def mode_divergence(samples: NDArray[Any], modes: Modes) -> float:
    """KL(generated || real) in nats over K + 1 cells: each mode's high-quality samples, and all others.

    One number that rises both when modes are lost and when samples lie between them, where the reverse KL over nearest
    modes sees only the former: fit to choose a checkpoint by.
    """
    nearest, high_quality = modes.assign(samples)
    counts = np.append(np.bincount(nearest[high_quality], minlength=modes.count), np.sum(~high_quality))
    inside = modes.real_high_quality
    return _divergence(counts, np.append(np.full(modes.count, inside / modes.count), 1.0 - inside))


def _divergence(counts: NDArray[Any], expected: NDArray[np.float64]) -> float:
    """KL(counts / N || expected) in nats."""
    seen = counts > 0
    shares = counts[seen] / counts.sum()
    return max(0.0, float(np.sum(shares * np.log(shares / expected[seen]))))
