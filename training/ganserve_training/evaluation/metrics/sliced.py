"""Sliced Wasserstein distance. N, M = samples, D = values of a sample, P = directions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = 128
_BLOCK = 16  # Directions at a time: bounds memory for big images.


def sliced_wasserstein(
    generated: NDArray[Any], real: NDArray[Any], *, directions: int = DIRECTIONS, seed: int = 0
) -> float:
    """The root of the mean, over random directions, of the squared 2-Wasserstein distance along each.

    Along one direction the optimal transport pairs equal quantiles, so that sorting solves it exactly (Rabin et al.
    2012; Bonneel et al. 2015). The two sets may have different counts. Directions are uniform on the sphere, and the
    same for the same seed and D: values of one data set compare.

    Args:
        generated: [N, D], N at least 1.
        real: [M, D], M at least 1.
        directions: P.
        seed: Of the directions.

    Returns:
        At least 0, in the samples' unit. For two points it is their distance / sqrt(D), in expectation.
    """
    rng = np.random.default_rng(seed)
    ours, theirs = (np.ascontiguousarray(part, np.float32) for part in (generated, real))
    total = 0.0
    for start in range(0, directions, _BLOCK):
        block = rng.standard_normal((ours.shape[1], min(_BLOCK, directions - start)), np.float32)
        block /= np.linalg.norm(block, axis=0)
        total += float(_squared_wasserstein(ours @ block, theirs @ block).sum())
    return float(np.sqrt(total / directions))


def _squared_wasserstein(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared 2-Wasserstein distance of one-dimensional empirical distributions, [N, P] and [M, P]: float64 [P]."""
    ours, theirs = np.sort(ours, axis=0), np.sort(theirs, axis=0)
    n, m = len(ours), len(theirs)
    # Both quantile functions are constant between the merged steps i/N and j/M; in units of 1/(NM), steps are integers.
    steps = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(steps, prepend=0) / (n * m)
    difference = ours[(steps - 1) // m].astype(np.float64) - theirs[(steps - 1) // n]
    return np.asarray(widths @ difference**2, np.float64)
