"""Compute the acceptance probability of discriminator rejection sampling (Azadi et al. 2018, section 3).

Let D = sigmoid(d) be the calibrated probability that a sample is real. Then exp(d) is the ratio of the data's density
to the generator's, and accepting samples in proportion to it gives the data's distribution. In the paper's terms

    F = d - d_M - log(1 - exp(d - d_M - eps)) - gamma,    accepted with probability sigmoid(F),

where d_M is the largest d and gamma trades acceptance for fidelity. The paper keeps the largest d seen so far and takes
gamma from each batch. Here both are constants of the model, so that a sample depends only on its own proposals. They
come from the first `CALIBRATION_SAMPLES` unselected samples of `CALIBRATION_SEED` with drawn labels, and are rounded to
1/1024 so that providers that differ in the last bits agree. A proposal with a larger d is accepted like one with d_M.
gamma is the paper's 80th percentile of F over those samples: one sample in five has at least even odds.

N = samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganserve_server.models.model import Labels, Model

CALIBRATION_SAMPLES = 2048
CALIBRATION_SEED = int.from_bytes(b"ganserve", "big")
GAMMA_PERCENTILE = 80.0
_EPS = 1e-14
_ROUNDED_TO = 2.0**-10


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectionConstants:
    """The constants of a model's acceptance."""

    largest_log_odds: float
    """d_M."""
    gamma: float
    """A higher value accepts fewer and better samples."""

    def acceptance(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability that each proposal is accepted, from its d, [N]."""
        with np.errstate(over="ignore"):  # to infinity, and so to probability 0
            return 1 / (1 + np.exp(self.gamma - _unshifted(log_odds, self.largest_log_odds)))


def rejection_constants(log_odds: NDArray[np.float64]) -> RejectionConstants:
    """Return the constants of a model from d of unselected samples, [N]."""
    largest = _rounded(float(log_odds.max()))
    gamma = float(np.percentile(_unshifted(log_odds, largest), GAMMA_PERCENTILE))
    return RejectionConstants(largest_log_odds=largest, gamma=_rounded(gamma))


def calibration_obstacle(model: Model) -> str:
    """Explain why a model's critic gives no usable odds for rejection; empty if it does."""
    score, critic = model.spec.score, f"the critic of {model.info}"
    if not score.HasField("calibration"):
        return (
            f"{critic} is not calibrated, and SELECTION_METHOD_REJECTION needs probabilities that are true odds: "
            "package it again with data to calibrate it on, or select with SELECTION_METHOD_BEST_OF_N, which needs "
            "only the order of its scores"
        )
    if score.calibration.slope <= 0:
        return (
            f"{critic} could not tell real samples from generated ones when it was calibrated (slope "
            f"{score.calibration.slope:g}), so rejection has no effect: export another checkpoint"
        )
    return ""


def log_odds(model: Model, scores: NDArray[np.float32], labels: Labels) -> NDArray[np.float64]:
    """Return d of each sample, float64 [N], from the critic's output, [N], and its labels.

    It uses the manifest's logistic calibration, because the float32 probability saturates.
    """
    calibration = model.spec.score.calibration
    intercepts = np.array(calibration.intercepts, np.float64)
    own: NDArray[np.float64] = intercepts[0 if labels is None else labels]
    return calibration.slope * scores.astype(np.float64) + own


def _unshifted(log_odds: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """Return F + gamma."""
    below = np.minimum(log_odds - largest, 0.0)
    return below - np.log(-np.expm1(below - _EPS))


def _rounded(value: float) -> float:
    return round(value / _ROUNDED_TO) * _ROUNDED_TO
