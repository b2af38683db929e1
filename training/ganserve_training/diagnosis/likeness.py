"""Compare generated samples with real ones by neighbourhoods, without labels and without training.

N = samples, F = features, C, H, W = image, D = values of a vector.
"""

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ganserve_training.diagnosis.feature_space import FeatureSpace
from ganserve_training.evaluation.metrics.precision_recall import NEIGHBOURS, precision_recall

LIKENESS_SAMPLES = 256
"""Most samples of a side; half as many of each if there are fewer than twice as many real ones."""
_FEWEST = 4 * NEIGHBOURS  # samples of a side: with fewer, chance decides
_LEAST_BASELINE = 0.05


class Likeness(NamedTuple):
    """Precision and recall (Kynkäänniemi et al. 2019), divided by those of other real samples: 1 is as good as real."""

    precision: float
    """Share of samples within neighbourhoods of real ones: low if pictures are unlike the data."""
    recall: float
    """Share of real samples within neighbourhoods of generated ones: low if variety or detail is missing."""


class LikenessMeter:
    """Measure samples against real ones, [N, C, H, W] or [N, D] as networks see them, in a fixed space.

    Half of the real samples are the reference; the other half show what precision and recall real samples reach, as
    both depend on the data, on the space and on the number of samples.
    """

    def __init__(self, space: FeatureSpace, real: Tensor) -> None:
        self._space = space
        self.count = min(LIKENESS_SAMPLES, len(real) // 2)
        """Number of samples to measure; 0: there are too few real ones."""
        if self.count < _FEWEST:
            self.count = 0
            return
        features = space(real).cpu().numpy().astype(np.float64)
        self._reference = features[: self.count]
        baseline = precision_recall(features[self.count : 2 * self.count], self._reference)
        self._baseline = Likeness(baseline.precision, baseline.recall)
        if min(self._baseline) < _LEAST_BASELINE:
            self.count = 0

    def measure(self, samples: Tensor) -> Likeness | None:
        """Return the likeness of `count` samples; NaN if one of them is not finite; None: it can't be measured."""
        if not self.count:
            return None
        if not bool(samples.isfinite().all()):
            return Likeness(math.nan, math.nan)
        features = self._space(samples[: self.count]).cpu().numpy().astype(np.float64)
        found = precision_recall(features, self._reference)
        return Likeness(found.precision / self._baseline.precision, found.recall / self._baseline.recall)
