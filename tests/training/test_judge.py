from pathlib import Path

import numpy as np
import pytest
from sklearn.svm import SVC

from ganserve_training import evaluate_run, evaluate_samples, load_split
from ganserve_training.config import DigitsConfig
from ganserve_training.data import DataInfo, Images
from ganserve_training.data.flat_values import flat_values
from ganserve_training.errors import CheckpointError, ConfigError, DataError
from ganserve_training.evaluation.evaluate import balanced_labels
from ganserve_training.evaluation.judge import judge_probabilities, judge_samples, mean_nearest_distance

DIGITS = DigitsConfig()


def test_the_judge_recognises_99_percent_of_held_out_digits() -> None:
    train_images = load_split(DIGITS, "train")
    judgement = evaluate_samples(train_images.pixels, train_images.labels, DIGITS)
    assert judgement.judge_accuracy >= 0.99
    assert (
        judgement.gan_train == judgement.judge_accuracy
    )  # With the training set as samples, the second judge equals the first.
    assert judgement.gan_test >= 0.99
    assert judgement.nn_distance_ratio < 1e-6  # All samples are copies.


def test_held_out_real_samples_get_perfect_figures() -> None:
    held_out = load_split(DIGITS, "held_out")
    judgement = evaluate_samples(held_out.pixels, held_out.labels, DIGITS)
    assert judgement.nn_distance_ratio == 1.0
    assert judgement.gan_test == judgement.judge_accuracy


def test_noise_and_wrong_labels_are_recognised() -> None:
    rng = np.random.default_rng(0)
    train_images, held_out = load_split(DIGITS, "train"), load_split(DIGITS, "held_out")
    noise = rng.integers(0, 256, (200, 8, 8, 1), np.uint8)
    judgement = judge_samples(noise, balanced_labels(200, 10), train_images, held_out)
    assert judgement.gan_test < 0.3
    assert judgement.nn_distance_ratio > 2.0
    wrong = judge_samples(held_out.pixels, (held_out.labels + 1) % 10, train_images, held_out)
    assert wrong.gan_test < 0.05
    assert wrong.gan_train < 0.05


def test_the_figures_agree_with_a_plain_implementation() -> None:
    train_images, held_out = load_split(DIGITS, "train"), load_split(DIGITS, "held_out")
    shifted = np.roll(held_out.pixels, 1, axis=2)
    ours = judge_samples(shifted, held_out.labels, train_images, held_out)
    x, t, s = (images.reshape(len(images), 64) / 255 for images in (train_images.pixels, held_out.pixels, shifted))
    judge = SVC(C=10, gamma="scale").fit(x, train_images.labels)
    assert ours.gan_test == np.mean(judge.predict(s) == held_out.labels)
    student = SVC(C=10, gamma="scale").fit(s, held_out.labels)
    assert ours.gan_train == np.mean(student.predict(t) == held_out.labels)
    nearest = [np.sqrt(((x[None] - q[:, None]) ** 2).sum(-1)).min(1).mean() for q in (s, t)]
    assert ours.nn_distance_ratio == pytest.approx(nearest[0] / nearest[1], rel=1e-9)


def test_nearest_distances_are_euclidean_on_pixels_from_0_to_1() -> None:
    pixels = np.array([[0, 0, 0, 0], [255, 255, 255, 255], [0, 0, 0, 51]], np.uint8).reshape(3, 2, 2, 1)
    values = flat_values(pixels, DataInfo(sample_shape=(2, 2, 1)))
    assert mean_nearest_distance(values[2:], values[:2]) == pytest.approx(0.2)


def test_the_judge_gets_averaged_big_images_and_standardised_vectors() -> None:
    pixels = np.zeros((1, 33, 64, 1), np.uint8)
    pixels[0, 0, 4] = 255
    values = flat_values(pixels, DataInfo(sample_shape=(33, 64, 1)))  # 2 x 4 pixels each; row 33 is left out.
    assert values.shape == (1, 16 * 16)
    assert values[0].tolist() == [0.0, 1 / 8] + [0.0] * 254
    info = DataInfo(sample_shape=(2,), mean=(1.0, 2.0), std=(2.0, 4.0))
    assert flat_values(np.float32([[3.0, 0.0]]), info).tolist() == [[1.0, -0.5]]


def test_figures_by_label_use_only_samples_of_the_label() -> None:
    train_images, held_out = load_split(DIGITS, "train"), load_split(DIGITS, "held_out")
    shifted = np.roll(held_out.pixels, 1, axis=2)
    judgement = judge_samples(shifted, held_out.labels, train_images, held_out)
    sevens = held_out.labels == 7
    x, t, s = (images.reshape(len(images), 64) / 255 for images in (train_images.pixels, held_out.pixels, shifted))
    judge = SVC(C=10, gamma="scale").fit(x, train_images.labels)
    assert judgement.gan_test_by_label[7] == np.mean(judge.predict(s[sevens]) == 7)
    student = SVC(C=10, gamma="scale").fit(s, held_out.labels)
    assert judgement.gan_train_by_label[7] == np.mean(student.predict(t[sevens]) == 7)
    assert len(judgement.gan_test_by_label) == len(judgement.gan_train_by_label) == 10


def test_probabilities_follow_the_judge() -> None:
    train_images, held_out = load_split(DIGITS, "train"), load_split(DIGITS, "held_out")
    values = flat_values(held_out.pixels, held_out.info)
    probabilities, real = judge_probabilities(values, train_images, held_out)
    assert np.array_equal(probabilities, real)  # Here the held-out samples are also the generated ones.
    assert probabilities.shape == (len(held_out), 10)
    assert np.allclose(probabilities.sum(axis=1), 1.0)
    assert np.mean(probabilities.argmax(axis=1) == held_out.labels) > 0.97


def test_samples_that_cannot_be_judged_are_refused() -> None:
    train_images, held_out = load_split(DIGITS, "train"), load_split(DIGITS, "held_out")
    unlabelled = Images(pixels=train_images.pixels)
    with pytest.raises(DataError, match="needs labelled data"):
        judge_samples(held_out.pixels, held_out.labels, unlabelled, held_out)
    with pytest.raises(DataError, match=r"samples must be \[8, 8, 1\] like the data \(got \[8, 8, 3\]\)"):
        judge_samples(held_out.pixels.repeat(3, axis=3), held_out.labels, train_images, held_out)
    with pytest.raises(DataError, match="samples of every label, 0 to 9"):
        judge_samples(held_out.pixels[:2], held_out.labels[:2], train_images, held_out)


def test_labels_are_balanced() -> None:
    assert np.bincount(balanced_labels(1500, 10)).tolist() == [150] * 10
    assert np.bincount(balanced_labels(23, 10)).tolist() == [3, 3, 3] + [2] * 7
    with pytest.raises(ConfigError, match=r"^--samples 9: must be at least 10, one for each label\.$"):
        balanced_labels(9, 10)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        evaluate_run(tmp_path)
