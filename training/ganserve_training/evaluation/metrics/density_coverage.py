"""Density and coverage: fidelity and diversity by nearest neighbours. N = generated, M = real, F = features."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.evaluation.metric import Figure, Metric
from ganserve_training.evaluation.neighbourhoods import inside_balls, squared_radii

NEIGHBOURS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class DensityCoverage:
    """Figures of Naeem et al. 2020."""

    density: float
    """Mean number of real neighbourhoods that hold a generated sample, divided by k: fidelity; may exceed 1."""
    coverage: float
    """Share of real neighbourhoods that hold a generated sample: diversity."""


def density_coverage(generated: NDArray[Any], real: NDArray[Any], *, neighbours: int = NEIGHBOURS) -> DensityCoverage:
    """Compare features [N, F] and [M, F] by balls around real samples only, so one generated outlier has little effect.

    `neighbours` is k. Raise DataError if M is not above k.
    """
    held = np.zeros(len(real), np.int64)
    for inside in inside_balls(generated, real, squared_radii(real, neighbours)):
        held += inside.sum(axis=0)
    return DensityCoverage(density=float(held.sum() / (neighbours * len(generated))), coverage=float((held > 0).mean()))


METRIC = Metric(
    name="density-coverage",
    measure=lambda material: asdict(density_coverage(material.generated_features, material.real_features)),
    figures={
        "density": Figure("density", "density of real samples around the generated ones", "share"),
        "coverage": Figure("coverage", "share of real samples with a generated one nearby", "share"),
    },
    compares_features=True,
    by_default=lambda traits: not traits.has_modes,
    position=4,
)
