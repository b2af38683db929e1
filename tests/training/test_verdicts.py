"""Good, fair and poor: the same rule for every figure, by the values of real samples."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drawn_subjects import real_samples, subject
from ganserve_training import load_split
from ganserve_training.config import DigitsConfig, RingConfig
from ganserve_training.data import Vectors
from ganserve_training.evaluation.evaluate import evaluate
from ganserve_training.evaluation.metric import Beside, Scale
from ganserve_training.evaluation.metrics import frechet_distance, precision_recall
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.evaluation.real_samples import RealSamples
from ganserve_training.evaluation.reference import load_reference
from ganserve_training.evaluation.result import Evaluation
from ganserve_training.evaluation.verdict import Comparison, likeness

DIGITS = DigitsConfig()
PIXELS = EvaluationOptions(metrics=("fid", "precision-recall", "gan-train-test"), features="pixels")


@pytest.mark.parametrize(
    ("scale", "model", "real", "worst", "expected"),
    [
        ("share", 0.9, 0.9, 0.1, 1.0),
        ("share", 0.95, 0.9, 0.1, 1.0),  # better than real counts as real
        ("share", 0.5, 0.9, 0.1, 0.5),
        ("share", 0.05, 0.9, 0.1, 0.0),  # worse than guessing
        ("share", 0.1, 0.15, 0.1, None),  # the judge itself only guesses
        ("distance", 2.0, 1.0, 5.0, 0.75),
        ("distance", 0.5, 1.0, 5.0, 1.0),
        ("squared-distance", 2.0, 1.0, 5.0, 0.5),  # a quarter of the way in squares is half of it
        ("squared-distance", 9.0, 1.0, 5.0, 0.0),
        ("squared-distance", 1.0, 1.0, 1.05, None),  # one sample over and over is as near as real ones
        ("squared-distance", 0.0, 0.0, 0.0, None),
        ("squared-distance", -0.02, -0.01, 1.0, 1.0),
        ("ratio", 0.5, 1.0, 0.0, 0.5),
        ("ratio", 2.0, 1.0, 0.0, 0.5),
        ("ratio", 0.0, 1.0, 0.0, 0.0),
        ("share", float("nan"), 0.9, 0.0, None),
    ],
)
def test_likeness_runs_from_the_worst_to_real_samples(
    scale: Scale, model: float, real: float, worst: float, expected: float | None
) -> None:
    found = likeness(Beside(model, real, worst), scale)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("share", "verdict"), [(0.85, "good"), (0.84, "fair"), (0.6, "fair"), (0.59, "poor")])
def test_verdicts_have_two_thresholds(share: float, verdict: str) -> None:
    comparison = Comparison.of(Beside(share, 1.0), "share")
    assert comparison is not None
    assert comparison.verdict == verdict


def test_real_values_are_those_of_held_out_samples_in_place_of_generated_ones() -> None:
    evaluation = evaluate(subject(DIGITS, real_samples(DIGITS, "held_out")), PIXELS)
    train, held_out = load_split(DIGITS, "train"), load_split(DIGITS, "held_out")
    x, t = (part.read(np.arange(len(part))).reshape(len(part), 64) / 255 for part in (train, held_out))
    found = evaluation.beside_real
    assert evaluation.beside_real_samples == 360
    assert found["fid"].real == pytest.approx(frechet_distance(t, x))
    real = precision_recall(t, x)
    assert (found["precision"].real, found["recall"].real) == (real.precision, real.recall)
    one = x[np.square(x - x.mean(axis=0)).sum(axis=1).argmin()]
    assert found["fid"].worst == pytest.approx(frechet_distance(np.tile(one, (360, 1)), x))
    assert found["gan_train"].real == evaluation.metrics["judge_accuracy"]
    assert found["gan_test"].real == evaluation.metrics["judge_accuracy_as_asked"]
    assert found["gan_test"].real == pytest.approx(found["gan_train"].real, abs=0.002)  # all labels are as frequent
    assert found["gan_test"].worst == pytest.approx(0.1)
    assert evaluation.verdict == "good"
    assert evaluation.summary.startswith("Good: the lowest of 6 figures is ")


def test_copies_are_seen_by_their_distance_alone() -> None:
    evaluation = evaluate(subject(DIGITS, real_samples(DIGITS)), PIXELS)
    verdicts = {name: item.verdict for name, item in evaluation.beside_real.items()}
    assert verdicts.pop("nn_distance_ratio") == evaluation.verdict == "poor"
    assert set(verdicts.values()) == {"good"}
    assert evaluation.summary == (
        "Poor: NN distance ratio (distance to the nearest training sample: 1 as real ones, 0 copies) is 0.000, where "
        "real samples have 1.000; 5 of 6 figures are good."
    )


def test_a_model_is_measured_with_as_many_samples_and_the_labels_of_the_real_ones() -> None:
    asked: list[tuple[NDArray[np.int64] | None, int]] = []

    def draw(labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        asked.append((labels, count))
        return real_samples(DIGITS)(labels, count, seed)

    evaluate(subject(DIGITS, draw), PIXELS)
    (_, count), (labels, alike) = asked
    assert (count, alike) == (1500, 360)
    assert labels is not None
    held_out = load_split(DIGITS, "held_out").labels
    assert held_out is not None
    assert sorted(labels) == sorted(held_out)


def test_one_picture_a_label_is_poor_in_recall() -> None:
    """Digits that all look like one of their label: faithful, but not varied."""
    train = load_split(DIGITS, "held_out")
    assert train.labels is not None
    first = np.array([np.flatnonzero(train.labels == label)[0] for label in range(10)])

    def collapsed(labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        return train.read(first[labels])

    evaluation = evaluate(subject(DIGITS, collapsed), PIXELS)
    assert evaluation.beside_real["precision"].verdict == "good"
    assert evaluation.beside_real["gan_test"].verdict == "good"
    assert evaluation.beside_real["recall"].verdict == "poor"
    assert evaluation.verdict == "poor"
    assert evaluation.summary.startswith(
        "Poor: recall (share of real samples among the generated ones) is 0.000, where real samples have 0."
    )


def test_noise_is_poor_in_everything() -> None:
    def noise(_labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), np.uint8)

    evaluation = evaluate(subject(DIGITS, noise), PIXELS)
    verdicts = {name: item.verdict for name, item in evaluation.beside_real.items()}
    assert verdicts.pop("gan_train") in ("fair", "poor")
    assert set(verdicts.values()) == {"poor"}
    assert evaluation.summary.endswith("0 of 6 figures are good.")


def test_modes_are_judged_by_real_samples_too() -> None:
    config = RingConfig()
    evaluation = evaluate(subject(config, real_samples(config), labelled=False), EvaluationOptions())
    assert evaluation.verdict == "good"
    train = load_split(config, "train")
    assert isinstance(train, Vectors)
    half = train.values[train.values[:, 0] > 0]

    def right_half(_labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        return half[np.random.default_rng(seed).integers(len(half), size=count)]

    evaluation = evaluate(subject(config, right_half, labelled=False), EvaluationOptions())
    assert evaluation.beside_real["high_quality"].verdict == "good"
    assert evaluation.beside_real["modes"].verdict in ("fair", "poor")
    assert evaluation.verdict == "poor"


def test_real_samples_are_measured_once_for_all_models(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = load_reference(DIGITS, (8, 8, 1))
    real = RealSamples(reference, 200, 0)
    assert real.count == len(real.labels if real.labels is not None else ()) == 200
    monkeypatch.setattr("ganserve_training.evaluation.real_samples.FEWEST", 201)
    assert not real.are_enough


def test_held_out_samples_that_are_unlike_the_training_samples_are_noted() -> None:
    evaluation = evaluate(subject(DIGITS, real_samples(DIGITS, "held_out")), PIXELS)
    assert evaluation.notes == ()
    precision = Comparison(model=0.5, real=0.46, worst=0.0, likeness=1.0, verdict="good")
    unlike = replace(evaluation, beside_real={**evaluation.beside_real, "precision": precision})
    assert unlike.notes[-1] == (
        "held-out real samples are unlike the training samples themselves (precision 0.46), so the verdicts are mild"
    )
    assert unlike.to_dict()["notes"] == list(unlike.notes)


def test_an_evaluation_survives_its_form_on_disk_and_older_forms_are_read() -> None:
    evaluation = evaluate(subject(DIGITS, real_samples(DIGITS)), PIXELS)
    text = json.dumps(evaluation.to_dict(), allow_nan=False)
    assert Evaluation.from_dict(json.loads(text)) == evaluation
    old = json.loads(text)
    for name in ("beside_real", "beside_real_samples", "not_finite", "verdict", "summary", "left_out", "training"):
        del old[name]
    assert Evaluation.from_dict(old).metrics == evaluation.metrics
    with pytest.raises(KeyError):
        Evaluation.from_dict({"metrics": {}})
