"""An independent judge of labelled images: support vector machines on the pixels, which no generator ever sees."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.samples import Samples
from ganserve_training.errors import DataError

# What the digits are known to reach; the distance ratio says "neither copies nor noise" for any data.
GAN_TEST_AT_LEAST = 0.98
GAN_TRAIN_AT_LEAST = 0.96
NN_DISTANCE_RATIO_WITHIN = (0.8, 1.2)


def fit_judge(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Any:
    """A support vector machine with a radial kernel that tells labels from pixels, uint8 [N, H, W, C]."""
    from sklearn.svm import SVC

    return SVC(C=10.0, gamma="scale").fit(_flat(pixels), labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """How good generated, labelled samples are."""

    gan_test: float
    """Share of the samples that a judge trained on real data gives the requested label."""
    gan_train: float
    """Accuracy, on held-out real data, of a judge trained on nothing but the samples (Shmelkov et al. 2018)."""
    nn_distance_ratio: float
    """Mean distance from a sample to the nearest training sample, divided by that from held-out real samples: well
    below 1, copies; well above 1, noise."""
    judge_accuracy: float
    """Accuracy of the judge trained on real data, on held-out real data: the best that gan_train could hope for."""

    def to_dict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


def judge_samples(pixels: NDArray[np.uint8], labels: NDArray[np.int64], train: Samples, held_out: Samples) -> Judgement:
    """Judge generated samples against real ones.

    Args:
        pixels: generated samples, uint8 [N, H, W, C].
        labels: the labels that were asked for, int64 [N].
        train: the real samples that the generator learned from.
        held_out: real samples that it never saw.

    Raises:
        DataError: the data have no labels, the samples have another shape, or a label has no sample.
    """
    if train.labels is None or held_out.labels is None:
        raise DataError("the judge needs labelled data: these have no labels")
    if not train.info.is_image or pixels.shape[1:] != train.info.sample_shape:
        raise DataError(f"samples must be {list(train.info.sample_shape)} like the data (got {list(pixels.shape[1:])})")
    label_count = len(train.info.label_names)
    if set(np.unique(labels)) != set(range(label_count)):
        raise DataError(f"the judge needs samples of every label, 0 to {label_count - 1}, and no others")
    train_pixels, held_out_pixels = (part.read(np.arange(len(part))) for part in (train, held_out))
    judge = fit_judge(train_pixels, train.labels)
    student = fit_judge(pixels, labels)
    return Judgement(
        gan_test=float(judge.score(_flat(pixels), labels)),
        gan_train=float(student.score(_flat(held_out_pixels), held_out.labels)),
        nn_distance_ratio=mean_nearest_distance(pixels, train_pixels)
        / mean_nearest_distance(held_out_pixels, train_pixels),
        judge_accuracy=float(judge.score(_flat(held_out_pixels), held_out.labels)),
    )


def mean_nearest_distance(pixels: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """Mean Euclidean distance, in pixel values of [0, 1], from each image to its nearest in ``reference``."""
    from sklearn.neighbors import NearestNeighbors

    distances, _ = NearestNeighbors(n_neighbors=1).fit(_flat(reference)).kneighbors(_flat(pixels))
    return float(distances.mean())


def _flat(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Uint8 [N, H, W, C] -> float64 [N, H W C] in [0, 1]."""
    return pixels.reshape(len(pixels), -1) / 255.0
