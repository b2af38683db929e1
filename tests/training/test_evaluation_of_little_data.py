"""Evaluate models of few, equal or unlabelled samples: figures, or words instead of them; never a crash."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drawn_subjects import real_samples, subject
from ganserve_training.config import ArrayConfig, DigitsConfig, RingConfig
from ganserve_training.errors import ConfigError, DataError
from ganserve_training.evaluation.evaluate import evaluate
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.evaluation.result import Evaluation
from ganserve_training.evaluation.show import show
from ganserve_training.evaluation.table import Named, labels_table

FEW = EvaluationOptions(samples=60)


def pictures(folder: Path, labels: list[int] | None, *, alike: bool = False) -> ArrayConfig:
    """Write pictures of these labels, which are bright in a place of their own; `alike`: all are the same."""
    count = 3 if labels is None else len(labels)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (1 if alike else count, 8, 8, 1), np.uint8).repeat(count if alike else 1, axis=0)
    if labels is not None:
        for pixel, label in zip(pixels, labels, strict=True):
            pixel[label // 8 % 8, label % 8] = 255
    arrays = {"images": pixels} | ({} if labels is None else {"labels": np.array([f"{label:02}" for label in labels])})
    path = folder / "pictures.npz"
    np.savez(path, **arrays)
    return ArrayConfig(path=str(path))


def judged(config: ArrayConfig, capsys: pytest.CaptureFixture[str], options: EvaluationOptions = FEW) -> Evaluation:
    """Evaluate copies of the data, and check that the result can be shown and written."""
    evaluation = evaluate(subject(config, real_samples(config)), options)
    json.dumps(evaluation.to_dict(), allow_nan=False)
    assert all(np.isfinite(value) for value in evaluation.metrics.values())
    show([Named("few", evaluation)])
    output = capsys.readouterr().out
    for name, why in evaluation.left_out.items():
        assert f"left out: {name}: {why}" in output
    assert evaluation.summary in output
    return evaluation


@pytest.mark.slow
def test_a_thousand_pictures_of_fifty_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = pictures(tmp_path, [number % 50 for number in range(1000)])
    evaluation = judged(config, capsys, EvaluationOptions(samples=500))
    assert len(labels_table(evaluation).rows) == 50
    assert len(labels_table(evaluation, 40).rows) == 40
    assert evaluation.left_out == {}
    assert evaluation.metrics["judge_accuracy"] == evaluation.metrics["gan_test"] == 1.0
    assert 1.0 < evaluation.metrics["inception_score"] < 50.0
    assert evaluation.beside_real["gan_train"].verdict == "good"
    assert evaluation.beside_real_samples == 200


def test_a_rare_label_that_no_judge_reads_is_no_fault_of_the_model(tmp_path: Path) -> None:
    """A judge says the frequent label, which is right for most real pictures, and for half of those asked for."""
    pixels = np.random.default_rng(0).integers(0, 256, (240, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "noise.npz", images=pixels, labels=(np.arange(240) % 6 == 0).astype(np.int64))
    config = ArrayConfig(path=str(tmp_path / "noise.npz"))
    options = EvaluationOptions(metrics=("gan-train-test",), samples=60)
    evaluation = evaluate(subject(config, real_samples(config, "held_out")), options)
    assert evaluation.metrics["judge_accuracy"] > 0.75
    assert evaluation.metrics["judge_accuracy_as_asked"] == pytest.approx(evaluation.metrics["gan_test"], abs=0.1)
    judged_by = evaluation.beside_real.get("gan_test")
    assert judged_by is None or judged_by.verdict == "good"


def test_two_pictures_a_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One to learn from and one to hold out."""
    config = ArrayConfig(path=pictures(tmp_path, [number % 12 for number in range(24)]).path, held_out_fraction=0.5)
    evaluation = judged(config, capsys)
    assert evaluation.left_out == {}
    assert 0.0 <= evaluation.metrics["gan_train"] <= 1.0
    assert (evaluation.verdict, evaluation.beside_real) == (None, {})
    assert evaluation.summary == "Not judged: 12 real samples are held out, and a verdict needs at least 20."


def test_a_label_with_a_single_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is learned from, and none is held out."""
    evaluation = judged(pictures(tmp_path, [0] * 60 + [1] * 60 + [2]), capsys)
    assert evaluation.left_out == {}
    assert np.isnan(evaluation.by_label["gan_train"][2])
    assert evaluation.to_dict()["by_label"]["gan_train"][2] is None


def test_one_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = judged(pictures(tmp_path, [0] * 150), capsys)
    why = "a judge of labels needs samples of at least two labels"
    assert evaluation.left_out == {"inception-score": why, "gan-train-test": why}
    assert evaluation.features is not None
    assert evaluation.features.name == "pixels"
    assert {"fid", "kid", "precision", "recall", "density", "coverage", "nn_distance_ratio"} <= set(evaluation.metrics)
    assert evaluation.beside_real["precision"].verdict == "good"


def test_labels_that_cannot_be_used_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that learned without such labels is measured without them, also on other data."""
    config = replace(pictures(tmp_path, list(range(64))), labels="ignore")
    evaluation = judged(config, capsys)
    assert {"fid", "precision", "recall"} <= set(evaluation.metrics)
    assert evaluation.by_label == {}
    model = subject(config, real_samples(config))
    options = replace(FEW, data=config.path)
    elsewhere = evaluate(replace(model, learned_from=DigitsConfig(labels="ignore")), options)
    assert elsewhere.metrics == evaluation.metrics
    with pytest.raises(DataError, match="each of the 64 labels has a single sample"):
        evaluate(replace(model, label_names=("a", "b"), learned_from=DigitsConfig()), options)


def test_three_unlabelled_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = judged(pictures(tmp_path, None), capsys)
    assert evaluation.left_out == {
        "precision-recall": "at least 4 samples are needed to compare neighbourhoods (got 2)",
        "density-coverage": "at least 6 samples are needed to compare neighbourhoods (got 2)",
    }
    assert set(evaluation.metrics) == {"fid", "kid", "kid_std", "sliced_wasserstein", "nn_distance_ratio"}


def test_two_equal_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of them is held out."""
    config = pictures(tmp_path, [0, 0], alike=True)
    config = ArrayConfig(path=config.path, held_out_fraction=0.5, labels="ignore")
    evaluation = judged(config, capsys)
    assert evaluation.left_out["fid"] == "fid needs at least 2 samples (got 60 generated and 1 real)"
    assert evaluation.left_out["kid"] == "kid needs at least 2 samples (got 60 generated and 1 real)"
    assert evaluation.left_out["nn-distance"] == (
        "every held-out sample is equal to a training sample, so there is no distance to compare with"
    )
    assert evaluation.metrics == {"sliced_wasserstein": pytest.approx(0.0, abs=1e-6)}


def test_a_single_picture_is_refused_in_words(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(DataError, match="a split needs at least 2 samples"):
        subject(ArrayConfig(path=str(tmp_path / "one.npy")), lambda *_: np.zeros(0))


def test_blank_samples_get_figures(tmp_path: Path) -> None:
    config = pictures(tmp_path, [number % 5 for number in range(200)])

    def blank(_labels: NDArray[np.int64] | None, count: int, _seed: int) -> NDArray[Any]:
        return np.zeros((count, 8, 8, 1), np.uint8)

    evaluation = evaluate(subject(config, blank), FEW)
    assert evaluation.left_out == {}
    assert evaluation.metrics["gan_test"] == pytest.approx(0.2)
    assert evaluation.beside_real["gan_test"].likeness == pytest.approx(0.0)
    assert evaluation.verdict == "poor"


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_samples_that_are_not_numbers_are_counted_and_left_out(share: float) -> None:
    config = RingConfig()

    def torn(_labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        samples = real_samples(config)(None, count, seed).copy()
        samples[: int(share * count), 1] = np.nan
        return samples

    evaluation = evaluate(subject(config, torn, labelled=False), EvaluationOptions(samples=500))
    lost = int(share * 500)
    assert evaluation.not_finite == lost
    assert (evaluation.verdict, evaluation.summary) == (
        "poor",
        f"Poor: {lost} of 500 samples hold NaN or infinite values.",
    )
    if share == 1.0:
        assert evaluation.metrics == {}
        assert set(evaluation.left_out.values()) == {"no sample is finite"}
    else:
        assert evaluation.metrics["modes"] == 8


def test_huge_vectors_get_figures_or_words() -> None:
    config = RingConfig(count=2000)

    def huge(_labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        return np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32) * np.float32(1e30)

    metrics = ("fid", "kid", "precision-recall", "density-coverage", "sliced-wasserstein", "mode-coverage")
    evaluation = evaluate(subject(config, huge, labelled=False), EvaluationOptions(metrics=metrics, samples=100))
    json.dumps(evaluation.to_dict(), allow_nan=False)
    assert evaluation.verdict == "poor"


def test_more_labels_than_the_usual_number_of_samples(tmp_path: Path) -> None:
    """Every label is drawn, unless the user asks for fewer samples."""
    config = pictures(tmp_path, [number % 64 for number in range(640)])
    names = tuple(map(str, range(1600)))
    model = replace(subject(config, real_samples(config)), label_names=names)
    asked: list[int] = []

    def draw(labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        asked.append(count)
        return real_samples(config)(None, count, seed)

    evaluate(replace(model, draw=draw), EvaluationOptions(metrics=("sliced-wasserstein",)))
    assert asked[0] == 1600
    with pytest.raises(ConfigError, match=r"--samples 100: must be at least 1600, one for each label\."):
        evaluate(replace(model, draw=draw), EvaluationOptions(metrics=("sliced-wasserstein",), samples=100))
