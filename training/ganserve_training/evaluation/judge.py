"""Judge labelled samples with support vector machines, which no generator was trained against.

N = samples, D = values of a sample, K = labels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.flat_values import flat_values
from ganserve_training.data.samples import Samples
from ganserve_training.errors import DataError

# Good runs on digits reach the first two. The distance ratio means "neither copies nor noise" for any data.
GAN_TEST_AT_LEAST = 0.98
GAN_TRAIN_AT_LEAST = 0.96
NN_DISTANCE_RATIO_WITHIN = (0.8, 1.2)

_LEARNED_AT_MOST = 5000  # the time to fit grows with the square of the number of samples
_SEED = 0


def fit_judge(values: NDArray[Any], labels: NDArray[np.int64]) -> Any:
    """Fit a support vector machine with a radial kernel that predicts labels from values, [N, D]."""
    from sklearn.svm import SVC

    if len(values) > _LEARNED_AT_MOST:
        chosen = np.random.default_rng(_SEED).permutation(len(values))[:_LEARNED_AT_MOST]
        values, labels = values[chosen], labels[chosen]
    return SVC(C=10.0, gamma="scale").fit(values, labels)


def judge_probabilities(
    values: NDArray[Any], train: Samples, held_out: Samples
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities that a judge gives each label: of sample rows [N, D], and of the held-out real samples.

    The judge learns from `train`. Logistic regressions on `held_out` turn its distances into probabilities (Platt
    1999), float64 [N, K] and [M, K]. Both sets have labels.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    assert train.labels is not None
    assert held_out.labels is not None
    judge = fit_judge(sample_rows(train), train.labels)
    others = sample_rows(held_out)
    calibrated = CalibratedClassifierCV(FrozenEstimator(judge), method="sigmoid").fit(others, held_out.labels)
    ours, real = (np.asarray(calibrated.predict_proba(part), np.float64) for part in (values, others))
    return ours, real


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
    gan_test_by_label: tuple[float, ...]
    """gan_test of each label's samples."""
    gan_train_by_label: tuple[float, ...]
    """gan_train of each label's held-out samples; NaN if there are none."""


def judge_samples(samples: NDArray[Any], labels: NDArray[np.int64], train: Samples, held_out: Samples) -> Judgement:
    """Judge generated samples, uint8 [N, H, W, C] or float32 [N, D], of these labels, int64 [N], against real ones.

    Raises:
        DataError: The data have no labels, the samples have another shape, or a label has no sample.
    """
    if train.labels is None or held_out.labels is None:
        raise DataError("the judge needs labelled data: these have no labels")
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
    return Judgement(
        gan_test=float(recognised.mean()),
        gan_train=float(learned.mean()),
        nn_distance_ratio=nearest_distance_ratio(ours, train_values, held_out_values),
        judge_accuracy=float(judge.score(held_out_values, held_out.labels)),
        gan_test_by_label=_by_label(recognised, labels, count),
        gan_train_by_label=_by_label(learned, held_out.labels, count),
    )


def nearest_distance_ratio(generated: NDArray[Any], train: NDArray[Any], held_out: NDArray[Any]) -> float:
    """Divide generated values' mean distance to the nearest training ones by that of held-out ones; [N, D] each."""
    return mean_nearest_distance(generated, train) / mean_nearest_distance(held_out, train)


def mean_nearest_distance(values: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the mean Euclidean distance from each sample, [N, D], to its nearest one in `reference`, [M, D]."""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=1).fit(reference).kneighbors(values)
    return float(distances.mean())


def sample_rows(samples: Samples) -> NDArray[np.float64]:
    """Return all samples of a data set as rows, [N, D]."""
    return flat_values(samples.read(np.arange(len(samples))), samples.info)


def _by_label(right: NDArray[np.bool_], labels: NDArray[np.int64], count: int) -> tuple[float, ...]:
    hits, totals = (np.bincount(labels, weights=weights, minlength=count) for weights in (right, None))
    return tuple((hits / np.where(totals > 0, totals, np.nan)).tolist())
