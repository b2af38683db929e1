"""Inception score. N = samples, K = labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def inception_score(probabilities: NDArray[Any]) -> float:
    """The score exp E KL(p(label | sample) || p(label)), from 1 to K.

    1: all alike, or none recognisable; K: each recognised for sure, and all labels equally often.
    Salimans et al. 2016, who read the probabilities off a network trained on ImageNet; any judge of the data's own
    labels serves, and makes other numbers.

    Args:
        probabilities: [N, K], each row adding up to 1.
    """
    each = np.asarray(probabilities, np.float64)
    tiny = np.finfo(np.float64).tiny  # 0 log 0 = 0
    marginal = each.mean(axis=0)
    divergences = (each * (np.log(np.maximum(each, tiny)) - np.log(np.maximum(marginal, tiny)))).sum(axis=1)
    return float(np.exp(divergences.mean()))
