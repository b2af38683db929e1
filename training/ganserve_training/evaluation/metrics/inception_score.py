"""Inception score. N = samples, K = labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.evaluation.judge import judge_probabilities
from ganserve_training.evaluation.metric import Beside, Figure, Material, Metric


def inception_score(probabilities: NDArray[Any]) -> float:
    """Return exp E KL(p(label | sample) || p(label)), from 1 to K (Salimans et al. 2016), of probabilities [N, K].

    1: all samples look alike, or none is recognised. K: all are recognised for sure, and all labels are equally
    frequent. The paper uses a network trained on ImageNet; any judge of the data's own labels works, but
    gives other numbers.
    """
    each = np.asarray(probabilities, np.float64)
    tiny = np.finfo(np.float64).tiny  # 0 log 0 = 0
    marginal = each.mean(axis=0)
    divergences = (each * (np.log(np.maximum(each, tiny)) - np.log(np.maximum(marginal, tiny)))).sum(axis=1)
    return float(np.exp(divergences.mean()))


def _measure(material: Material) -> dict[str, float]:
    probabilities, real = judge_probabilities(material.values, material.train, material.held_out)
    return {"inception_score": inception_score(probabilities), "inception_score_real": inception_score(real)}


METRIC = Metric(
    name="inception-score",
    measure=_measure,
    figures={
        "inception_score": Figure("Inception score", "the judge is sure, and labels are balanced", "share"),
        "inception_score_real": Figure("its value of real ones", "Inception score of held-out samples"),
    },
    beside_real=lambda _, found: {
        "inception_score": Beside(found["inception_score"], found["inception_score_real"], worst=1.0)
    },
    missing=lambda traits: "" if traits.has_labels else "labelled data, for its judge",
    by_default=lambda traits: not traits.has_modes,
    position=5,
)
