"""Distance to the nearest training sample: tells copies and noise from new samples."""

from ganserve_training.evaluation.judge import NN_DISTANCE_RATIO_WITHIN, nearest_distance_ratio, sample_rows
from ganserve_training.evaluation.metric import Figure, Material, Metric

_LOW, _HIGH = NN_DISTANCE_RATIO_WITHIN


def _measure(material: Material) -> dict[str, float]:
    held_out = sample_rows(material.held_out)
    return {"nn_distance_ratio": nearest_distance_ratio(material.values, material.real_values, held_out)}


METRIC = Metric(
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
