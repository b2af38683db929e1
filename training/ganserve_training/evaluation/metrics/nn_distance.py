"""Distance to the nearest training sample: tells copies and noise from new samples."""

from ganserve_training.evaluation.judge import nearest_distance_ratio, sample_rows
from ganserve_training.evaluation.metric import Beside, Figure, Material, Metric


def _measure(material: Material) -> dict[str, float]:
    held_out = sample_rows(material.held_out)
    return {"nn_distance_ratio": nearest_distance_ratio(material.values, material.real_values, held_out)}


METRIC = Metric(
    name="nn-distance",
    measure=_measure,
    figures={
        "nn_distance_ratio": Figure(
            "NN distance ratio", "distance to the nearest training sample: 1 as real ones, 0 copies", "ratio"
        )
    },
    beside_real=lambda _, found: {"nn_distance_ratio": Beside(found["nn_distance_ratio"], real=1.0)},
    by_default=lambda traits: not traits.has_modes,
    position=8,
)
