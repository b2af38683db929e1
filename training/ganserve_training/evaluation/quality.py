"""Measure sample quality as one cheap number, for the monitor that watches training.

N = samples, H, W, C = image, D = values of a vector.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.flat_values import flat_values
from ganserve_training.data.samples import Samples
from ganserve_training.diagnosis.config import QualityName
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation.judge import fit_judge
from ganserve_training.evaluation.metrics.kid import kernel_distance
from ganserve_training.evaluation.metrics.mode_coverage import mode_divergence
from ganserve_training.evaluation.metrics.sliced_wasserstein import sliced_wasserstein
from ganserve_training.evaluation.modes import Modes

_REFERENCE_SAMPLES = 1000
_REFERENCE_SEED = 0
_KID_SAMPLES = 500


_FIGURES: dict[QualityName, tuple[str, bool]] = {
    "mode-coverage": ("mode_divergence", False),
    "kid": ("kid", False),
    "gan-test": ("gan_test", True),
    "sliced-wasserstein": ("sliced_wasserstein", False),
}
"""For each choice, the figure's name, and whether more is better."""


class Quality(NamedTuple):
    """A measured quality."""

    name: str
    """Name of the figure: sliced_wasserstein, mode_divergence, gan_test or kid."""
    value: float
    higher_is_better: bool


def check_choice(choice: QualityName, modes: Modes | None, *, labelled: bool) -> None:
    """Raise ConfigError if the choice does not suit the data: mode-coverage without modes, gan-test without labels."""
    if choice == "mode-coverage" and modes is None:
        raise ConfigError("diagnosis.quality mode-coverage needs data whose modes are known: use sliced-wasserstein")
    if choice == "gan-test" and not labelled:
        raise ConfigError("diagnosis.quality gan-test needs labelled data: use sliced-wasserstein")


class QualityMeter:
    """Measure samples against one fixed reference, so that values of one run can be compared.

    It uses at most 1,000 samples of the reference, always the same. The choice auto is mode-coverage if `modes` are
    known, else sliced-wasserstein. Raise ConfigError for a choice that does not suit the data, and DataError for
    gan-test if all samples of the reference have one label.
    """

    def __init__(self, reference: Samples, choice: QualityName = "auto", modes: Modes | None = None) -> None:
        check_choice(choice, modes, labelled=reference.labels is not None)
        if choice == "auto":
            choice = "sliced-wasserstein" if modes is None else "mode-coverage"
        self._choice, self._modes, self._info = choice, modes, reference.info
        count = min(len(reference), _REFERENCE_SAMPLES)
        chosen = np.sort(np.random.default_rng(_REFERENCE_SEED).permutation(len(reference))[:count])
        self._real = flat_values(reference.read(chosen), self._info)
        self._judge = None
        if choice == "gan-test":
            assert reference.labels is not None
            self._judge = fit_judge(self._real, reference.labels[chosen])

    def measure(self, samples: NDArray[Any], labels: NDArray[np.int64] | None) -> Quality:
        """Return the quality of samples uint8 [N, H, W, C] or float32 [N, D]; only gan-test needs labels int64 [N].

        The quality is NaN if a sample holds NaN or an infinite value. Raise DataError if kid has fewer than two
        samples.
        """
        name, higher_is_better = _FIGURES[self._choice]
        finite = bool(np.isfinite(samples).all())
        return Quality(name, self._measure(samples, labels) if finite else math.nan, higher_is_better)

    def _measure(self, samples: NDArray[Any], labels: NDArray[np.int64] | None) -> float:
        if self._choice == "mode-coverage":
            assert self._modes is not None
            return mode_divergence(samples, self._modes)
        flat = flat_values(samples, self._info)
        if self._choice == "kid":
            return kernel_distance(flat[:_KID_SAMPLES], self._real[:_KID_SAMPLES], subsets=1)[0]
        if self._judge is not None:
            if labels is None:
                raise ConfigError("gan-test needs samples with labels: use sliced-wasserstein")
            return float(np.mean(self._judge.predict(flat) == labels))
        return sliced_wasserstein(flat, self._real)
