"""Know the modes of some data sets. N = samples, K = modes, D = values of a sample."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.config import DataConfig
from ganserve_training.data.flat_values import flat_values
from ganserve_training.data.sources.gaussians import GRID_SIGMA, RING_SIGMA, grid_centres, ring_centres
from ganserve_training.evaluation.judge import fit_judge

HIGH_QUALITY_SIGMAS = 3.0


class Modes(Protocol):
    """Equally probable modes of a distribution."""

    @property
    def count(self) -> int:
        """Return K."""

    @property
    def real_high_quality(self) -> float:
        """Return the share of high-quality samples among real samples."""

    def assign(self, samples: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return each sample's nearest mode, int64 [N], and whether the sample has high quality, bool [N]."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GaussianModes:
    """A mixture of equally probable normal distributions with one standard deviation."""

    centres: NDArray[np.float64]
    """float64 [K, D]."""
    sigma: float
    """Standard deviation in each dimension."""

    @property
    def count(self) -> int:
        """Return K."""
        return len(self.centres)

    @property
    def real_high_quality(self) -> float:
        """Return P(chi^2_D <= 9): 0.9889 in two dimensions."""
        from scipy.stats import chi2

        return float(chi2.cdf(HIGH_QUALITY_SIGMAS**2, self.centres.shape[1]))

    def assign(self, samples: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the nearest centre of each sample, float [N, D], and whether it lies within 3 sigma."""
        from scipy.spatial import KDTree

        distances, nearest = KDTree(self.centres).query(np.asarray(samples, np.float64))
        return nearest.astype(np.int64), distances <= HIGH_QUALITY_SIGMAS * self.sigma


class StackedDigitModes:
    """The 1,000 triples of digits that the three channels of an image can show.

    A classifier that was trained on all of scikit-learn's digits reads each channel, as in the protocol of Stacked
    MNIST (Metz et al. 2017; Lin et al. 2018).
    """

    count = 1000
    real_high_quality = 1.0  # every image shows some triple

    def __init__(self) -> None:
        from ganserve_training.data.sources.digits import load_digits

        digits = load_digits()
        assert digits.labels is not None
        self._info = digits.info
        self._classifier = fit_judge(flat_values(digits.pixels, self._info), digits.labels)

    def assign(self, samples: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the triple that each image uint8 [N, 8, 8, 3] shows, first channel first; all have high quality."""
        planes = np.moveaxis(samples, 3, 0).reshape(-1, 8, 8, 1)
        digits = self._classifier.predict(flat_values(planes, self._info)).reshape(3, -1)
        return digits[0] * 100 + digits[1] * 10 + digits[2], np.ones(len(samples), np.bool_)


def modes_of(config: DataConfig) -> Modes | None:
    """Return the modes of the data that `config` names; None: they are unknown."""
    if config.source == "stacked-digits":
        return StackedDigitModes()
    if config.source == "ring":
        return GaussianModes(centres=ring_centres(), sigma=RING_SIGMA)
    if config.source == "grid":
        return GaussianModes(centres=grid_centres(), sigma=GRID_SIGMA)
    return None
