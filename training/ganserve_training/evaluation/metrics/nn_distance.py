"""Distance to the nearest training sample: tells copies and noise from new samples."""

from __future__ import annotations

from ganserve_training.data.flat_values import flat_values
from ganserve_training.evaluation.judge import NN_DISTANCE_RATIO_WITHIN, nearest_distance_ratio
from ganserve_training.evaluation.metric import Figure, Material, Metric, read_all, register_metric

_LOW, _HIGH = NN_DISTANCE_RATIO_WITHIN


def _measure(material: Material) -> dict[str, float]:
    held_out = flat_values(read_all(material.held_out), material.held_out.info)
    return {"nn_distance_ratio": nearest_distance_ratio(material.values, material.real_values, held_out)}


register_metric(
    Metric(
        name="nn-distance",
        measure=_measure,
        figures={
            "nn_distance_ratio": Figure(
                "NN distance ratio",
                f"{_LOW} to {_HIGH}",
                "distance to the nearest training sample: 1 as real ones, 0 copies",
            )
        },
        by_default=lambda traits: not traits.has_modes,
        position=8,
    )
)
