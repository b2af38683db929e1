"""Discriminator rejection sampling: with which probability a proposal is accepted (Azadi et al. 2018, section 3).

With D = sigmoid(d), the calibrated probability that a sample is real, exp(d) is the ratio of the data's density to the
generator's, and accepting in proportion to it gives samples of the data's distribution. In the paper's terms

    F = d - d_M - log(1 - exp(d - d_M - eps)) - gamma,    accepted with probability sigmoid(F),

where d_M is the largest d there is and gamma trades acceptance for fidelity. The paper keeps the largest d seen so far
and takes gamma from each batch. Here both are constants of the model, so that a sample depends on its own proposals
alone: they are those of the first `CALIBRATION_SAMPLES` unselected samples of `CALIBRATION_SEED`, labels drawn, rounded
to 1/1024 so that arithmetic that differs in its last bits agrees on them. A proposal whose d is larger still is
accepted like one with d_M. gamma is the paper's 80th percentile of F over those samples: one in five has at least even
odds.

N = samples.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganserve_server.models.model import Labels, Model
    from ganserve_server.requests.validation import Findings

CALIBRATION_SAMPLES = 2048
CALIBRATION_SEED = int.from_bytes(b"ganserve", "big")
GAMMA_PERCENTILE = 80.0
_EPS = 1e-14
_ROUNDED_TO = 2.0**-10


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RejectionConstants:
    """What the acceptance of a model's samples depends on beside their own odds."""

    largest_log_odds: float
    """d_M."""
    gamma: float
    """Higher: fewer and better samples are accepted."""

    def acceptance(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability that each proposal is accepted.

        Args:
            log_odds: D, [N].
        """
        accepted: NDArray[np.float64] = expit(_unshifted(log_odds, self.largest_log_odds) - self.gamma)
        return accepted


def rejection_constants(log_odds: NDArray[np.float64]) -> RejectionConstants:
    """Return the constants of a model.

    Args:
        log_odds: D of unselected samples, [N].
    """
    largest = _rounded(float(log_odds.max()))
    gamma = float(np.percentile(_unshifted(log_odds, largest), GAMMA_PERCENTILE))
    return RejectionConstants(largest_log_odds=largest, gamma=_rounded(gamma))


def check_calibrated(model: Model, findings: Findings) -> None:
    """Check that a model's critic tells real from generated in odds."""
    score, who = model.spec.score, f"the critic of version {model.info.version} of model {model.info.name!r}"
    if not score.HasField("calibration"):
        findings.precondition(
            f"{who} is not calibrated, and SELECTION_METHOD_REJECTION needs probabilities that are true odds: package "
            "it again with data to calibrate it on, or select with SELECTION_METHOD_BEST_OF_N, which needs the order "
            "of its scores alone"
        )
    elif score.calibration.slope <= 0:
        findings.precondition(
            f"{who} could not tell real samples from generated ones when it was calibrated (slope "
            f"{score.calibration.slope:g}), so there is nothing to reject by: export another checkpoint"
        )


def log_odds(model: Model, scores: NDArray[np.float32], labels: Labels) -> NDArray[np.float64]:
    """Return d of each sample, float64 [N].

    From the score and the manifest's logistic calibration, which does not saturate as the probability does in float32.

    Args:
        model: The model, whose critic is calibrated.
        scores: The critic's own output, [N].
        labels: What the critic was given: one for all, int64 [N], or None.
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
