"""Calibrate a critic: turn its scores, which have no scale, into probabilities that a sample is real.

A Wasserstein critic gives no density ratio, and a relativistic critic trained on pairs of the same label is defined
only up to a constant per label. A logistic regression on held-out real and generated scores makes both comparable: one
slope for all, one intercept per label (Platt 1999; Azadi et al. 2018 calibrate a discriminator this way).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from ganserve_export.errors import ExportError

if TYPE_CHECKING:
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.int64]

MIN_SAMPLES = 20
FOLDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LogisticCalibration:
    """probability = 1 / (1 + exp(-(slope * score + intercepts[label])))."""

    slope: float
    """Multiplies the score; never negative, so that a higher score never means a lower probability."""
    intercepts: tuple[float, ...]
    """One per label, or a single one for a critic that takes no labels."""
    real_count: int
    """Number of held-out real samples in the fit."""
    generated_count: int
    """Number of generated samples in the fit."""
    log_loss: float
    """Mean negative log-likelihood, cross-validated, in nats; guessing gets ln 2 = 0.693."""
    auc: float
    """Probability that a held-out real sample gets a higher probability than a generated one, cross-validated; 0.5 is
    chance."""

    @classmethod
    def uncalibrated(cls, label_count: int) -> LogisticCalibration:
        """Return probability = sigmoid(score), which treats scores as log odds, as a discriminator's are."""
        return cls(
            slope=1.0,
            intercepts=(0.0,) * max(label_count, 1),
            real_count=0,
            generated_count=0,
            log_loss=0.0,
            auc=0.5,
        )

    @property
    def fitted(self) -> bool:
        """Say whether it was fitted to samples."""
        return self.real_count > 0

    @property
    def informative(self) -> bool:
        """Say whether the scores tell real from generated samples at all."""
        return self.slope > 0.0


def fit_calibration(
    real_scores: FloatArray, generated_scores: FloatArray, *, labels: IntArray | None = None, label_count: int = 0
) -> LogisticCalibration:
    """Fit slope and intercepts; real and generated samples weigh the same, however many there are of each.

    Args:
        real_scores: Scores of held-out real samples, [R].
        generated_scores: Scores of generated samples, [G].
        labels: Labels of the real samples, [R], and likewise of the generated ones, for a critic that takes labels.
        label_count: Number of labels; 0 for a critic that takes none.

    Raises:
        ExportError: There are fewer than 20 samples of either kind, or a score is not finite.
    """
    for kind, scores in (("held-out real", real_scores), ("generated", generated_scores)):
        if len(scores) < MIN_SAMPLES:
            raise ExportError(
                f"calibration needs at least {MIN_SAMPLES} {kind} samples (got {len(scores)}): hold out more data"
            )
        if not np.isfinite(scores).all():
            bad = np.count_nonzero(~np.isfinite(scores))
            raise ExportError(
                f"the critic's score is not finite for {bad} of {len(scores)} {kind} samples: "
                "export an earlier checkpoint"
            )
    scores = np.concatenate([real_scores, generated_scores]).astype(np.float64)
    is_real = np.concatenate([np.ones(len(real_scores)), np.zeros(len(generated_scores))])
    one_hot = np.zeros((len(scores), 0))
    if label_count:
        if labels is None:
            raise ExportError("a critic that takes labels needs the samples' labels for its calibration")
        one_hot = np.eye(label_count)[np.concatenate([labels, labels])]

    # Standard scores, so that the regression's penalty does not depend on the critic's scale. The penalty pulls each
    # label's deviation towards the common intercept, which itself is free.
    mean, deviation = float(scores.mean()), float(scores.std()) or 1.0
    features = np.column_stack([(scores - mean) / deviation, one_hot])
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
    model.fit(features, is_real)
    slope = float(model.coef_[0, 0]) / deviation
    if slope > 0.0:
        shared = float(model.intercept_[0]) - slope * mean
        intercepts = tuple(shared + float(delta) for delta in model.coef_[0, 1:]) or (shared,)
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        predicted = cross_val_predict(model, features, is_real, cv=folds, method="predict_proba")[:, 1]
    else:
        # The critic ranks generated samples above held-out real ones: its scores carry no information to calibrate.
        slope, intercepts = 0.0, (0.0,) * max(label_count, 1)
        predicted = np.full(len(scores), 0.5)
    weights = np.where(is_real == 1.0, 0.5 / len(real_scores), 0.5 / len(generated_scores))
    return LogisticCalibration(
        slope=slope,
        intercepts=intercepts,
        real_count=len(real_scores),
        generated_count=len(generated_scores),
        log_loss=float(log_loss(is_real, predicted, sample_weight=weights)),
        auc=float(roc_auc_score(is_real, predicted)),
    )
