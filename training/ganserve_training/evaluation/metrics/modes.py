"""Data sets whose modes are known. N = samples, K = modes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.config import DataConfig
from ganserve_training.data.rows import flat_values
from ganserve_training.data.sources.gaussians import GRID_SIGMA, RING_SIGMA, grid_centres, ring_centres
from ganserve_training.evaluation.judge import fit_judge
from ganserve_training.evaluation.metrics.coverage import GaussianModes, Modes


class StackedDigitModes:
    """The 1,000 triples of digits that the three channels of an image may show.

    Each channel is read by one classifier that has learned all of scikit-learn's digits: the protocol of Stacked MNIST
    (Metz et al. 2017; Lin et al. 2018).
    """

    def __init__(self) -> None:
        from ganserve_training.data.sources.digits import load_digits

        digits = load_digits()
        assert digits.labels is not None
        self._info = digits.info
        self._classifier = fit_judge(flat_values(digits.pixels, self._info), digits.labels)

    @property
    def count(self) -> int:
        """K."""
        return 1000

    @property
    def real_high_quality(self) -> float:
        """Any image shows some triple."""
        return 1.0

    def assign(self, samples: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The triple that each image, uint8 [N, 8, 8, 3], shows, first channel first; all are of high quality."""
        planes = np.moveaxis(samples, 3, 0).reshape(-1, 8, 8, 1)
        digits = self._classifier.predict(flat_values(planes, self._info)).reshape(3, -1)
        return digits[0] * 100 + digits[1] * 10 + digits[2], np.ones(len(samples), np.bool_)


def modes_of(config: DataConfig) -> Modes | None:
    """The modes of the data that `config` names; None where nobody knows them."""
    if config.source == "stacked-digits":
        return StackedDigitModes()
    if config.source == "ring":
        return GaussianModes(centres=ring_centres(), sigma=RING_SIGMA)
    if config.source == "grid":
        return GaussianModes(centres=grid_centres(), sigma=GRID_SIGMA)
    return None
