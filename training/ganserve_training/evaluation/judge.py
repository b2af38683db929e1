"""Judge labelled samples with support vector machines, which no generator was trained against.

N = samples, D = values of a sample, K = labels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ganserve_training.data.flat_values import flat_values
from ganserve_training.data.samples import Samples
from ganserve_training.errors import DataError

_LEARNED_AT_MOST = 5000  # the time to fit grows with the square of the number of samples
_SEED = 0


def fit_judge(values: NDArray[Any], labels: NDArray[np.int64]) -> Any:
    """Fit a support vector machine with a radial kernel that predicts labels from values, [N, D].

    Raise DataError if all samples have the same label.
    """
    from sklearn.svm import SVC

    if len(values) > _LEARNED_AT_MOST:
        chosen = np.random.default_rng(_SEED).permutation(len(values))[:_LEARNED_AT_MOST]
        values, labels = values[chosen], labels[chosen]
    if len(labels) == 0 or labels.min() == labels.max():
        raise DataError("a judge of labels needs samples of at least two labels")
    return SVC(C=10.0, gamma="scale").fit(values, labels)


def judge_probabilities(
    values: NDArray[Any], train: Samples, held_out: Samples
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities that a judge gives each label: of sample rows [N, D], and of the held-out real samples.

    The judge learns from `train`. For each label, a logistic regression on `held_out` turns its distances into
    probabilities (Platt 1999), which are then divided by their sum: float64 [N, K] and [M, K]. Both sets have labels; a
    label without training samples has the probability 0. Raise DataError if there are fewer than two labels, or no
    held-out samples.
    """
    assert train.labels is not None
    assert held_out.labels is not None
    _expect_held_out(held_out)
    judge = fit_judge(sample_rows(train), train.labels)
    others = sample_rows(held_out)
    distances, real_distances = (_distances(judge, part) for part in (values, others))
    ours, real = (np.zeros((len(part), len(train.info.label_names))) for part in (values, others))
    for column, label in enumerate(judge.classes_):
        slope, offset = _fit_sigmoid(real_distances[:, column], held_out.labels == label)
        for found, part in ((ours, distances), (real, real_distances)):
            found[:, label] = expit(slope * part[:, column] + offset)
    return _shares(ours), _shares(real)


def _shares(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide rows of positive numbers by their sums, [N, K]."""
    sums = np.maximum(parts.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.asarray(parts / sums, np.float64)


def _distances(judge: Any, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the signed distance of samples [N, D] from each label's boundary, float64 [N, K]; two labels share one."""
    found = np.asarray(judge.decision_function(values), np.float64)
    return np.stack([-found, found], axis=1) if found.ndim == 1 else found


def _fit_sigmoid(distances: NDArray[np.float64], mine: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset of the sigmoid of distances, float64 [N], that predicts `mine`, bool [N].

    The targets are smoothed as Platt does, so that labels without held-out samples, or with few, stay finite.
    """
    from scipy.optimize import minimize

    count = int(mine.sum())
    targets = np.where(mine, (count + 1.0) / (count + 2.0), 1.0 / (len(mine) - count + 2.0))
    scale = float(np.abs(distances).max()) or 1.0

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = weights[0] * distances / scale + weights[1]
        slopes = expit(logits) - targets
        value = float((np.logaddexp(0.0, logits) - targets * logits).sum())
        return value, np.array([(slopes * distances / scale).sum(), slopes.sum()])

    slope, offset = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B").x
    return float(slope) / scale, float(offset)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Figures of generated, labelled samples."""

    gan_test: float
    """Share of samples to which a judge trained on real data gives the requested label."""
    gan_train: float
    """Accuracy on held-out real data of a judge trained on the samples alone (Shmelkov et al. 2018)."""
    nn_distance_ratio: float
    """Mean distance to the nearest training sample, over that of held-out samples. Below 1: copies; above: noise."""
    judge_accuracy: float
    """Accuracy on held-out real data of the judge trained on real data: an upper limit for gan_train."""
    judge_accuracy_as_asked: float
    """The same with each label as frequent as in the samples: what samples as good as real ones have as gan_test."""
    gan_test_by_label: tuple[float, ...]
    """gan_test of each label's samples."""
    gan_train_by_label: tuple[float, ...]
    """gan_train of each label's held-out samples; NaN if there are none."""
    judge_accuracy_by_label: tuple[float, ...]
    """judge_accuracy of each label's held-out samples; NaN if there are none."""


def judge_samples(samples: NDArray[Any], labels: NDArray[np.int64], train: Samples, held_out: Samples) -> Judgement:
    """Judge generated samples, uint8 [N, H, W, C] or float32 [N, D], of these labels, int64 [N], against real ones.

    Raises:
        DataError: The data have no labels, or fewer than two; there are no held-out samples; the samples have another
            shape; or a label has no sample.
    """
    if train.labels is None or held_out.labels is None:
        raise DataError("the judge needs labelled data: these have no labels")
    _expect_held_out(held_out)
    if samples.shape[1:] != train.info.sample_shape:
        raise DataError(
            f"samples must be {list(train.info.sample_shape)} like the data (got {list(samples.shape[1:])})"
        )
    count = len(train.info.label_names)
    if set(np.unique(labels)) != set(range(count)):
        raise DataError(f"the judge needs samples of every label, 0 to {count - 1}, and no others")
    ours, train_values, held_out_values = flat_values(samples, train.info), sample_rows(train), sample_rows(held_out)
    judge, student = fit_judge(train_values, train.labels), fit_judge(ours, labels)
    recognised = judge.predict(ours) == labels
    learned = student.predict(held_out_values) == held_out.labels
    known = judge.predict(held_out_values) == held_out.labels
    # Labels that are rare in the data are often the hard ones, and samples may have as many of each.
    weights = np.bincount(labels, minlength=count)[held_out.labels] / np.bincount(held_out.labels)[held_out.labels]
    return Judgement(
        gan_test=float(recognised.mean()),
        gan_train=float(learned.mean()),
        nn_distance_ratio=nearest_distance_ratio(ours, train_values, held_out_values),
        judge_accuracy=float(known.mean()),
        judge_accuracy_as_asked=float(np.average(known, weights=weights)),
        gan_test_by_label=_by_label(recognised, labels, count),
        gan_train_by_label=_by_label(learned, held_out.labels, count),
        judge_accuracy_by_label=_by_label(known, held_out.labels, count),
    )


def nearest_distance_ratio(generated: NDArray[Any], train: NDArray[Any], held_out: NDArray[Any]) -> float:
    """Divide generated values' mean distance to the nearest training ones by that of held-out ones; [N, D] each.

    Raise DataError if there are no held-out samples, or all of them are copies of training samples.
    """
    if not len(held_out):
        raise DataError("no samples are held out to compare with")
    usual = mean_nearest_distance(held_out, train)
    if usual == 0.0:
        raise DataError("every held-out sample is equal to a training sample, so there is no distance to compare with")
    return mean_nearest_distance(generated, train) / usual


def mean_nearest_distance(values: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the mean Euclidean distance from each sample, [N, D], to its nearest one in `reference`, [M, D]."""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=1).fit(reference).kneighbors(values)
    return float(distances.mean())


def sample_rows(samples: Samples) -> NDArray[np.float64]:
    """Return all samples of a data set as rows, [N, D]."""
    return flat_values(samples.read(np.arange(len(samples))), samples.info)


def _expect_held_out(held_out: Samples) -> None:
    if not len(held_out):
        raise DataError("the judge is tested on held-out samples, and there are none")


def _by_label(right: NDArray[np.bool_], labels: NDArray[np.int64], count: int) -> tuple[float, ...]:
    hits, totals = (np.bincount(labels, weights=weights, minlength=count) for weights in (right, None))
    return tuple((hits / np.where(totals > 0, totals, np.nan)).tolist())
