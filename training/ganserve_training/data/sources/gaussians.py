"""Mixtures of Gaussians in the plane, on which mode coverage is measured. K = modes, N = points."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import DrawnDataConfig, register_source
from ganserve_training.data.samples_in_memory import Vectors

RING_SIGMA = 0.01
"""Standard deviation of the ring's modes in each dimension (PacGAN, Lin et al. 2018, section 4.1)."""
GRID_SIGMA = 0.05
"""Standard deviation of the grid's modes in each dimension."""


@register_source
@dataclass(frozen=True, kw_only=True)
class RingConfig(DrawnDataConfig):
    """Points of 8 Gaussians on a circle in the plane."""

    source = "ring"
    default_count = 80_000

    def load(self, report: ReportBadFiles | None) -> Vectors:  # noqa: ARG002
        """Return the points."""
        return load_gaussians(self, ring_centres(), RING_SIGMA)


@register_source
@dataclass(frozen=True, kw_only=True)
class GridConfig(DrawnDataConfig):
    """Points of 25 Gaussians on a grid in the plane."""

    source = "grid"
    default_count = 80_000

    def load(self, report: ReportBadFiles | None) -> Vectors:  # noqa: ARG002
        """Return the points."""
        return load_gaussians(self, grid_centres(), GRID_SIGMA)


def ring_centres() -> NDArray[np.float64]:
    """Return the 8 centres on the unit circle, evenly spaced: [8, 2].

    The eighth is a step before the first: over a closed interval, 0 and 2 pi would be one and the same mode.
    """
    angles = np.arange(8) * (2.0 * math.pi / 8)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def grid_centres() -> NDArray[np.float64]:
    """Return the 25 centres whose coordinates are each one of -4, -2, 0, 2 and 4: [25, 2]."""
    steps = np.arange(-4.0, 5.0, 2.0)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(25, 2)


def load_gaussians(config: DrawnDataConfig, centres: NDArray[np.float64], sigma: float) -> Vectors:
    """Draw `data.count` points around centres [K, 2], unlabelled; counts of modes differ by at most one.

    Runs with the same `data.split_seed` get the same points.
    """
    random = np.random.Generator(np.random.Philox(key=np.array([config.split_seed, len(centres)], np.uint64)))
    # [N, 2]
    points = np.resize(centres, (config.total, 2))
    return Vectors.standardised((points + sigma * random.standard_normal(points.shape)).astype(np.float32))
