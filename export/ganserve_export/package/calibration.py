"""Calibrate a critic: turn its scores, which have no scale, into probabilities that a sample is real.

A Wasserstein critic gives no density ratio, and a relativistic critic trained on pairs of the same label is defined
only up to a constant per label. A logistic regression on held-out real and generated scores makes both comparable: one
slope for all, one intercept per label (Platt 1999; Azadi et al. 2018 calibrate a discriminator this way).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor

from ganserve_export.errors import ExportError
from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.rows_at_once import rows_at_once
from ganserve_training import Samples

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

MIN_SAMPLES = 20
MOST_SAMPLES, ENOUGH_SAMPLES = 10_000, 1_000
MAX_VALUES = 50_000_000  # of all samples together, so that large images take minutes at most
FOLDS = 5
SEED = 20_000_017  # fixed: two exports of one checkpoint must give the same probabilities
BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class LogisticCalibration:
    """probability = 1 / (1 + exp(-(slope * score + intercepts[label])))."""

    slope: float
    """Multiplies the score; never negative, so that a higher score never means a lower probability."""
    intercepts: tuple[float, ...]
    """One per label, or a single one for a critic that takes no labels."""
    real_count: int = 0
    """Number of held-out real samples in the fit."""
    generated_count: int = 0
    """Number of generated samples in the fit."""
    log_loss: float = 0.0
    """Mean negative log-likelihood, cross-validated, in nats; guessing gets ln 2 = 0.693."""
    auc: float = 0.5
    """Probability that a held-out real sample ranks above a generated one, cross-validated; 0.5 is chance."""
    raw_auc: float = 0.5
    """The same of the bare scores less their label's mean; far below 0.5, higher scores mean generated samples."""

    @classmethod
    def uncalibrated(cls, label_count: int) -> Self:
        """Return probability = sigmoid(score), which treats scores as log odds, as a discriminator's are."""
        return cls(slope=1.0, intercepts=(0.0,) * max(label_count, 1))

    @property
    def fitted(self) -> bool:
        """Say whether it was fitted to samples."""
        return self.real_count > 0

    @property
    def informative(self) -> bool:
        """Say whether the scores tell real from generated samples at all."""
        return self.slope > 0.0

    @property
    def below_chance(self) -> bool:
        """Say whether real samples score lower than generated ones, by more than chance explains (4 deviations)."""
        if not self.fitted:
            return False
        real, generated = self.real_count, self.generated_count
        deviation = math.sqrt((real + generated + 1) / (12 * real * generated))  # Mann and Whitney 1947
        return self.raw_auc < 0.5 - 4 * deviation


def fit_calibration(
    real_scores: FloatArray, generated_scores: FloatArray, *, labels: IntArray | None = None, label_count: int = 0
) -> LogisticCalibration:
    """Fit slope and intercepts to scores of held-out real samples, [R], and of generated ones, [G].

    Both kinds weigh the same, however many there are. If the critic takes labels, `labels` are those of the real
    samples, [R], and likewise of the generated ones.

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
            some = f"{bad} of {len(scores)} {kind} samples"
            raise ExportError(f"the critic's score is not finite for {some}: export an earlier checkpoint")
    scores = np.concatenate([real_scores, generated_scores]).astype(np.float64)
    is_real = np.concatenate([np.ones(len(real_scores)), np.zeros(len(generated_scores))])
    one_hot, centred = np.zeros((len(scores), 0)), scores
    if label_count:
        if labels is None:
            raise ExportError("a critic that takes labels needs the samples' labels for its calibration")
        all_labels = np.concatenate([labels, labels])
        one_hot = np.eye(label_count)[all_labels]
        sums, counts = np.bincount(all_labels, scores, label_count), np.bincount(all_labels, minlength=label_count)
        centred = scores - (sums / np.maximum(counts, 1))[all_labels]

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
        raw_auc=float(roc_auc_score(is_real, centred)),
    )


@torch.inference_mode()
def calibrate(
    held_out: Samples,
    prior: LatentValues,
    draw_labels: Callable[[int, torch.Generator], Tensor | None],
    generate: Callable[[Tensor, Tensor | None], Tensor],
    score: Callable[[Tensor, Tensor | None], Tensor],
    *,
    label_count: int,
) -> LogisticCalibration:
    """Score the first held-out real samples and as many generated ones, and fit the calibration.

    `draw_labels` gives labels int64 [N]: those of the first N real samples, so that real and generated samples have the
    same mix, or random ones where the data have no such labels; None without labels. `generate` makes samples in the
    package's form, because a served critic scores rounded pixels, too. `score` gives float32 [N], and gets labels only
    if the critic takes `label_count` labels; 0: none.
    """
    size = int(np.prod(held_out.info.sample_shape))
    count = min(len(held_out), MOST_SAMPLES, max(ENOUGH_SAMPLES, MAX_VALUES // size))
    random = torch.Generator().manual_seed(SEED)
    latents = prior.draw(count, random, at_defaults=True)
    labels = draw_labels(count, random)
    real_scores, generated_scores = [], []
    batch = rows_at_once(size, BATCH)
    for start in range(0, count, batch):
        rows = slice(start, min(start + batch, count))
        row_labels = None if labels is None else labels[rows]
        critic_labels = row_labels if label_count else None
        real = torch.from_numpy(held_out.read(np.arange(rows.start, rows.stop)))
        generated_scores.append(score(generate(latents[rows], row_labels), critic_labels).numpy())
        real_scores.append(score(real, critic_labels).numpy())
    return fit_calibration(
        np.concatenate(real_scores),
        np.concatenate(generated_scores),
        labels=labels.numpy() if label_count and labels is not None else None,
        label_count=label_count,
    )
