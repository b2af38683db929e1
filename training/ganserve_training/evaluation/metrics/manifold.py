"""Fidelity and diversity by nearest neighbours in feature space. N = generated, M = real, F = features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.errors import DataError

PRECISION_RECALL_NEIGHBOURS = 3
DENSITY_COVERAGE_NEIGHBOURS = 5
_ROWS = 1024  # Rows of the distance matrix at a time.


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionRecall:
    """Kynkaanniemi et al. 2019."""

    precision: float
    """Share of generated samples that lie in the estimated manifold of the real ones: fidelity."""
    recall: float
    """Share of real samples that lie in the estimated manifold of the generated ones: diversity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DensityCoverage:
    """Naeem et al. 2020."""

    density: float
    """Real neighbourhoods that hold a generated sample, on average, divided by k: fidelity; may exceed 1."""
    coverage: float
    """Share of real neighbourhoods that hold a generated sample: diversity."""


def precision_recall(
    generated: NDArray[Any], real: NDArray[Any], *, neighbours: int = PRECISION_RECALL_NEIGHBOURS
) -> PrecisionRecall:
    """A set's manifold is the union of balls around its samples, each out to its k-th nearest neighbour in the set.

    Args:
        generated: Features [N, F], N above k.
        real: Features [M, F], M above k.
        neighbours: k.

    Raises:
        DataError: Too few samples.
    """
    real_radii = _squared_radii(real, neighbours)
    generated_radii = _squared_radii(generated, neighbours)
    return PrecisionRecall(
        precision=float(np.mean(_balls_around(generated, real, real_radii) > 0)),
        recall=float(np.mean(_balls_around(real, generated, generated_radii) > 0)),
    )


def density_coverage(
    generated: NDArray[Any], real: NDArray[Any], *, neighbours: int = DENSITY_COVERAGE_NEIGHBOURS
) -> DensityCoverage:
    """Both count balls around real samples only, which one outlier among the generated ones can't blow up.

    Args:
        generated: Features [N, F].
        real: Features [M, F], M above k.
        neighbours: k.

    Raises:
        DataError: Too few samples.
    """
    radii = _squared_radii(real, neighbours)
    inside = np.zeros(len(real), np.bool_)
    balls = 0
    for start in range(0, len(generated), _ROWS):
        within = _squared_distances(generated[start : start + _ROWS], real) <= radii
        balls += int(within.sum())
        inside |= within.any(axis=0)
    return DensityCoverage(density=balls / (neighbours * len(generated)), coverage=float(inside.mean()))


def _squared_radii(points: NDArray[Any], neighbours: int) -> NDArray[np.float64]:
    """Squared distance of each point [M, F] to its k-th nearest other point: float64 [M]."""
    if len(points) <= neighbours:
        raise DataError(f"at least {neighbours + 1} samples are needed to look at neighbourhoods (got {len(points)})")
    radii = np.empty(len(points), np.float64)
    for start in range(0, len(points), _ROWS):
        distances = _squared_distances(points[start : start + _ROWS], points)
        rows = np.arange(len(distances))
        distances[rows, start + rows] = -1.0  # The point itself comes first, also among equals.
        radii[start : start + _ROWS] = np.partition(distances, neighbours, axis=1)[:, neighbours]
    return radii


def _balls_around(points: NDArray[Any], centres: NDArray[Any], radii: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of the balls each point lies in: int64 [len(points)]."""
    parts = [
        (_squared_distances(points[start : start + _ROWS], centres) <= radii).sum(axis=1)
        for start in range(0, len(points), _ROWS)
    ]
    return np.concatenate(parts)


def _squared_distances(points: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """float64 [len(points), len(others)], not negative."""
    ours, theirs = np.asarray(points, np.float64), np.asarray(others, np.float64)
    squares: NDArray[np.float64] = (
        (ours**2).sum(axis=1)[:, np.newaxis] + (theirs**2).sum(axis=1) - 2.0 * ours @ theirs.T
    )
    np.maximum(squares, 0.0, out=squares)
    return squares
