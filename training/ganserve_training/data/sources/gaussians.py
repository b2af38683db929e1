"""Mixtures of Gaussians in the plane, on which mode coverage is measured. K = modes, N = points."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ganserve_training.config import DataConfig
from ganserve_training.data.memory_vectors import Vectors

RING_SIGMA = 0.01
"""Standard deviation of the ring's modes in each dimension (PacGAN, Lin et al. 2018, section 4.1)."""
GRID_SIGMA = 0.05
"""Standard deviation of the grid's modes in each dimension."""
DEFAULT_COUNT = 80_000
"""Points that are drawn if `data.count` doesn't say."""


def ring_centres() -> NDArray[np.float64]:
    """The 8 centres on the unit circle, evenly spaced: [8, 2].

    The eighth is a step before the first: over a closed interval, 0 and 2 pi would be one and the same mode.
    """
    angles = np.arange(8) * (2.0 * math.pi / 8)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def grid_centres() -> NDArray[np.float64]:
    """The 25 centres whose coordinates are each one of -4, -2, 0, 2 and 4: [25, 2]."""
    steps = np.arange(-4.0, 5.0, 2.0)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(25, 2)


def load_gaussians(config: DataConfig) -> Vectors:
    """The ring or the grid: `data.count` points, each mode's as many as the others' to within one; unlabelled.

    `data.split_seed` draws them, so they are the same in every run that doesn't change it.
    """
    which: Literal["ring", "grid"] = "ring" if config.source == "ring" else "grid"
    centres, sigma = (ring_centres(), RING_SIGMA) if which == "ring" else (grid_centres(), GRID_SIGMA)
    random = np.random.Generator(np.random.Philox(key=np.array([config.split_seed, len(centres)], np.uint64)))
    # [N, 2]
    points = np.resize(centres, (config.count or DEFAULT_COUNT, 2))
    return Vectors.standardised((points + sigma * random.standard_normal(points.shape)).astype(np.float32))
