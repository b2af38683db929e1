"""Know the modes of some data sets. N = samples, K = modes, D = values of a sample."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.config import DataConfig
from ganserve_training.data.flat_values import flat_values
from ganserve_training.data.sources.digits import load_digits
from ganserve_training.data.sources.gaussians import GRID_SIGMA, RING_SIGMA, grid_centres, ring_centres
from ganserve_training.data.sources.stacked_digits import StackedDigitsConfig
from ganserve_training.data.sources.stacked_mnist import StackedMnistConfig
from ganserve_training.evaluation.digit_reader import DigitReader, train_digit_reader
from ganserve_training.evaluation.judge import fit_judge

WITH_MODES = ("ring", "grid", "stacked-digits", "stacked-mnist")
"""Sources of data whose modes are known."""
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


class StackModes:
    """The 1,000 triples of digits that the three channels of an image can show.

    A classifier that was trained on real digits reads each channel, as in the protocol of Stacked MNIST (Metz et al.
    2017; Lin et al. 2018). It is trained when the first samples are read.
    """

    count = 1000
    real_high_quality = 1.0  # every image shows some triple

    def __init__(self, train_reader: Callable[[], DigitReader]) -> None:
        self._train_reader = train_reader

    @cached_property
    def read_digits(self) -> DigitReader:
        """Return the function from gray images, uint8 [M, H, W, 1], to their digits, int64 [M]."""
        return self._train_reader()

    def assign(self, samples: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the triple that each image uint8 [N, H, W, 3] shows, first channel first; all have high quality."""
        planes = np.moveaxis(samples, 3, 0).reshape(-1, *samples.shape[1:3], 1)
        digits = self.read_digits(planes).reshape(3, -1)
        return digits[0] * 100 + digits[1] * 10 + digits[2], np.ones(len(samples), np.bool_)


def _vector_machine() -> DigitReader:
    """Return a support vector machine that knows all of scikit-learn's digits."""
    digits = load_digits()
    assert digits.labels is not None
    judge = fit_judge(flat_values(digits.pixels, digits.info), digits.labels)
    return lambda planes: np.asarray(judge.predict(flat_values(planes, digits.info)), np.int64)


@lru_cache(maxsize=1)
def _network(config: StackedMnistConfig) -> DigitReader:
    """Return a convolutional network that knows the training digits: it reads 98.1 % of the held-out ones."""
    return train_digit_reader(config.digits_of_side("train", None))


def modes_of(config: DataConfig) -> Modes | None:
    """Return the modes of the data that `config` names; None: they are unknown."""
    if isinstance(config, StackedDigitsConfig):
        return StackModes(_vector_machine)
    if isinstance(config, StackedMnistConfig):
        return StackModes(partial(_network, config))
    if config.source == "ring":
        return GaussianModes(centres=ring_centres(), sigma=RING_SIGMA)
    if config.source == "grid":
        return GaussianModes(centres=grid_centres(), sigma=GRID_SIGMA)
    return None
