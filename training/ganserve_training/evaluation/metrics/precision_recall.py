"""Precision and recall: fidelity and diversity by nearest neighbours. N = generated, M = real, F = features."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.evaluation.metric import Figure, Metric
from ganserve_training.evaluation.neighbourhoods import inside_balls, squared_radii

NEIGHBOURS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionRecall:
    """Figures of Kynkaanniemi et al. 2019."""

    precision: float
    """Share of generated samples that lie in the estimated manifold of the real ones: fidelity."""
    recall: float
    """Share of real samples that lie in the estimated manifold of the generated ones: diversity."""


def precision_recall(generated: NDArray[Any], real: NDArray[Any], *, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """Compare features [N, F] and [M, F]. A set's manifold is the union of balls around its samples.

    Each ball reaches to the k-th nearest sample of its set, k = `neighbours`. Raise DataError if N or M is not above k.
    """
    return PrecisionRecall(
        precision=_share_inside(generated, real, neighbours), recall=_share_inside(real, generated, neighbours)
    )


def _share_inside(points: NDArray[Any], centres: NDArray[Any], neighbours: int) -> float:
    inside = inside_balls(points, centres, squared_radii(centres, neighbours))
    return float(np.concatenate([part.any(axis=1) for part in inside]).mean())


METRIC = Metric(
    name="precision-recall",
    measure=lambda material: asdict(precision_recall(material.generated_features, material.real_features)),
    figures={
        "precision": Figure("precision", "share of generated samples among the real ones", "share"),
        "recall": Figure("recall", "share of real samples among the generated ones", "share"),
    },
    compares_features=True,
    by_default=lambda traits: not traits.has_modes,
    position=3,
)
