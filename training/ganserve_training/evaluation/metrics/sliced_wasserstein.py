"""Sliced Wasserstein distance. N, M = samples, D = values of a sample, P = directions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.evaluation.metric import Figure, Metric

DIRECTIONS = 128
_BLOCK = 16  # directions at a time, which bounds memory for large images


def sliced_wasserstein(
    generated: NDArray[Any], real: NDArray[Any], *, directions: int = DIRECTIONS, seed: int = 0
) -> float:
    """Return the root mean square, over P random directions, of the 2-Wasserstein distance along each direction.

    Along one direction the optimal transport pairs equal quantiles, so sorting solves it exactly (Rabin et al. 2012;
    Bonneel et al. 2015). The sets, [N, D] and [M, D], may have different sizes. Directions are uniform on the sphere
    and depend on the seed and D only, so values for one data set can be compared. The distance has the samples' unit;
    for two points its expectation is their distance / sqrt(D).
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
    """Return the squared 2-Wasserstein distance of one-dimensional samples, [N, P] and [M, P]: float64 [P]."""
    ours, theirs = np.sort(ours, axis=0), np.sort(theirs, axis=0)
    n, m = len(ours), len(theirs)
    # Both quantile functions are constant between the merged steps i/N and j/M, which are integers in units of 1/(NM).
    steps = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(steps, prepend=0) / (n * m)
    difference = ours[(steps - 1) // m].astype(np.float64) - theirs[(steps - 1) // n]
    return np.asarray(widths @ difference**2, np.float64)


METRIC = Metric(
    name="sliced-wasserstein",
    measure=lambda material: {
        "sliced_wasserstein": sliced_wasserstein(material.values, material.real_values, seed=material.seed)
    },
    figures={
        "sliced_wasserstein": Figure(
            "sliced Wasserstein", "distance of the values, over random directions", "distance", ".4f"
        )
    },
    by_default=lambda traits: True,  # noqa: ARG005
    position=6,
)
