"""Compute balls around points that reach to their nearest neighbours. N, M = points, F = features."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.errors import DataError

_ROWS = 1024  # rows of the distance matrix at a time


def squared_radii(points: NDArray[Any], neighbours: int) -> NDArray[np.float64]:
    """Return the squared distance of each point [M, F] to its k-th nearest other point, float64 [M].

    Raise DataError if M is not above k.
    """
    if len(points) <= neighbours:
        raise DataError(f"at least {neighbours + 1} samples are needed to compare neighbourhoods (got {len(points)})")
    radii = np.empty(len(points), np.float64)
    for start in range(0, len(points), _ROWS):
        distances = _squared_distances(points[start : start + _ROWS], points)
        rows = np.arange(len(distances))
        distances[rows, start + rows] = -1.0  # the point itself comes first, even among equal points
        radii[start : start + _ROWS] = np.partition(distances, neighbours, axis=1)[:, neighbours]
    return radii


def inside_balls(
    points: NDArray[Any], centres: NDArray[Any], squared_radii: NDArray[np.float64]
) -> Iterator[NDArray[np.bool_]]:
    """Yield, for up to 1,024 points [N, F] at a time, which balls around the M centres each lies in, bool [n, M]."""
    for start in range(0, len(points), _ROWS):
        yield _squared_distances(points[start : start + _ROWS], centres) <= squared_radii


def _squared_distances(points: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return squared distances, float64 [len(points), len(others)], never negative."""
    ours, theirs = np.asarray(points, np.float64), np.asarray(others, np.float64)
    squares: NDArray[np.float64] = (
        (ours**2).sum(axis=1)[:, np.newaxis] + (theirs**2).sum(axis=1) - 2.0 * ours @ theirs.T
    )
    np.maximum(squares, 0.0, out=squares)
    return squares
