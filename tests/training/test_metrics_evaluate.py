"""Test whole evaluations: default metrics, contents of a report, refusals."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from channel_means import ChannelMeans
from ganserve_training import evaluate_run, load_split, load_trained, train
from ganserve_training.config import (
    DataConfig,
    DigitsConfig,
    GridConfig,
    MnistConfig,
    RingConfig,
    StackedDigitsConfig,
    StackedMnistConfig,
)
from ganserve_training.data import grid_centres
from ganserve_training.data.config import SOURCES
from ganserve_training.errors import ConfigError, DataError
from ganserve_training.evaluation.evaluate import evaluate
from ganserve_training.evaluation.metric import DataTraits, all_metrics, choose_metrics
from ganserve_training.evaluation.metrics import mode_coverage
from ganserve_training.evaluation.modes import WITH_MODES, GaussianModes, StackModes, modes_of
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.evaluation.reference import data_config, load_reference, source_of
from ganserve_training.evaluation.result import Evaluation
from ganserve_training.evaluation.show import show
from ganserve_training.evaluation.table import Named
from ganserve_training.evaluation.yardsticks import default_samples
from heard_steps import HeardSteps
from tiny_runs import tiny_config

DIGITS = DigitsConfig()


class Copies:
    """Draw training samples in place of generated ones."""

    def __init__(self, config: DataConfig, *, labelled: bool = True) -> None:
        self._train = load_split(config, "train")
        self._labelled = labelled
        self.learned_from: DataConfig | None = config
        self.sample_shape = self._train.info.sample_shape
        self.label_names = self._train.info.label_names if labelled else ()
        self.step = 7
        self.checkpoint_sha256 = "c0ffee"

    def draw(self, labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        rng = np.random.default_rng(seed)
        if labels is None:
            return self._train.read(rng.integers(len(self._train), size=count))
        assert self._train.labels is not None
        members = [np.flatnonzero(self._train.labels == label) for label in range(len(self.label_names))]
        return self._train.read(np.array([rng.choice(members[label]) for label in labels]))


@pytest.mark.slow
def test_real_digits_score_as_real_digits() -> None:
    steps = HeardSteps()
    evaluation = evaluate(Copies(DIGITS), EvaluationOptions(), steps=steps)
    assert steps.words[:4] == ["reading the data", "making the features", "drawing 1,500 samples", "measuring fid"]
    assert len(steps.words) == steps.expected
    assert (evaluation.samples, evaluation.real_samples, evaluation.held_out_samples) == (1500, 1437, 360)
    assert (evaluation.step, evaluation.checkpoint_sha256, evaluation.data) == (7, "c0ffee", "digits")
    assert evaluation.reference_sha256 == load_split(DIGITS, "train").sha256()
    assert evaluation.features is not None
    assert (evaluation.features.name, evaluation.features.resizer) == ("classifier", "none")
    assert evaluation.features.accuracy is not None
    assert evaluation.features.accuracy > 0.97
    found = evaluation.metrics
    assert set(found) == {
        *("fid", "kid", "kid_std", "precision", "recall", "density", "coverage", "sliced_wasserstein"),
        *("gan_test", "gan_train", "judge_accuracy", "judge_accuracy_as_asked", "nn_distance_ratio"),
        *("inception_score", "inception_score_real"),
    }
    assert -0.01 < found["kid"] < 0.0  # Unbiased for independent samples; below zero for copies.
    assert found["precision"] == 1.0  # Each copy lies in its original's ball.
    assert found["recall"] > 0.8
    assert found["gan_test"] > 0.99
    assert found["nn_distance_ratio"] < 1e-6
    assert found["inception_score"] == pytest.approx(found["inception_score_real"], rel=0.1)
    assert found["sliced_wasserstein"] < 0.02
    assert len(evaluation.by_label["gan_test"]) == len(evaluation.label_names) == 10
    assert json.loads(json.dumps(evaluation.to_dict()))["metrics"] == found


def test_an_unconditional_model_of_labelled_data_is_judged_without_labels() -> None:
    only = ("nn-distance", "inception-score", "sliced-wasserstein")
    evaluation = evaluate(Copies(DIGITS, labelled=False), EvaluationOptions(metrics=only, samples=100))
    assert set(evaluation.metrics) == {
        *("nn_distance_ratio", "inception_score", "inception_score_real", "sliced_wasserstein"),
    }
    assert (evaluation.features, evaluation.by_label, evaluation.label_names) == (None, {}, ())
    with pytest.raises(ConfigError, match="a generator that takes their labels"):
        evaluate(Copies(DIGITS, labelled=False), EvaluationOptions(metrics=("gan-train-test",)))


@pytest.mark.parametrize(("source", "modes"), [("ring", 8), ("grid", 25)])
def test_points_with_known_modes_are_counted(source: Any, modes: int) -> None:
    evaluation = evaluate(Copies(SOURCES[source](count=5000)), EvaluationOptions())
    assert evaluation.samples == 2500
    assert set(evaluation.metrics) == {"modes", "high_quality", "reverse_kl", "mode_divergence", "sliced_wasserstein"}
    assert evaluation.metrics["modes"] == modes
    assert evaluation.metrics["high_quality"] == pytest.approx(0.989, abs=0.007)
    assert evaluation.metrics["reverse_kl"] < 0.02


@pytest.mark.parametrize(
    ("digits", "config"),
    [
        (DIGITS, StackedDigitsConfig()),
        # The judge of MNIST's digits is a network that takes 20 seconds to train.
        pytest.param(MnistConfig(size=28), StackedMnistConfig(), marks=pytest.mark.slow),
        pytest.param(MnistConfig(), StackedMnistConfig(size=32), marks=pytest.mark.slow),
    ],
    ids=["digits", "mnist-28", "mnist-32"],
)
def test_stacks_are_recognised_in_each_channel(digits: DataConfig, config: DataConfig) -> None:
    held_out = load_split(digits, "held_out")
    assert held_out.labels is not None
    rng = np.random.default_rng(0)
    picked = rng.integers(len(held_out), size=(400, 3))
    stacks = np.stack([held_out.read(picked[:, channel])[..., 0] for channel in range(3)], axis=-1)
    modes = modes_of(config)
    assert isinstance(modes, StackModes)
    nearest, high_quality = modes.assign(stacks)
    expected = held_out.labels[picked] @ np.array([100, 10, 1])
    assert np.mean(nearest == expected) > 0.91  # at least 97 % of each digit
    assert high_quality.all()
    coverage = mode_coverage(np.repeat(stacks[:1], 50, axis=0), modes)
    assert (coverage.modes, coverage.reverse_kl) == (1, pytest.approx(math.log(1000)))
    assert default_samples(modes, 40_000) == 26_000


def test_modes_are_known_only_for_their_data() -> None:
    grid = modes_of(GridConfig())
    assert isinstance(grid, GaussianModes)
    assert np.array_equal(grid.centres, grid_centres())
    assert {name for name in SOURCES.names if modes_of(SOURCES[name]()) is not None} == set(WITH_MODES)
    assert modes_of(DIGITS) is None


def test_defaults_suit_the_data() -> None:
    def defaults(*, is_image: bool, has_labels: bool, has_modes: bool = False, takes_labels: bool = False) -> list[str]:
        traits = DataTraits(is_image=is_image, has_labels=has_labels, has_modes=has_modes, takes_labels=takes_labels)
        return [metric.name for metric in choose_metrics((), traits)]

    labelled = defaults(is_image=True, has_labels=True, takes_labels=True)
    assert labelled == [
        metric.name for metric in all_metrics() if metric.name not in ("mode-coverage", "label-balance")
    ]
    assert labelled[0] == "fid"
    bare = defaults(is_image=True, has_labels=False)
    assert set(labelled) - set(bare) == {"inception-score", "gan-train-test"}
    assert defaults(is_image=False, has_labels=False) == [
        *("precision-recall", "density-coverage", "sliced-wasserstein", "nn-distance"),
    ]
    assert defaults(is_image=False, has_labels=False, has_modes=True) == ["sliced-wasserstein", "mode-coverage"]
    assert [default_samples(None, real) for real in (100, 5000, 60_000)] == [1500, 5000, 10_000]


def test_features_from_a_file_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "means.pt"
    torch.jit.script(ChannelMeans(1)).save(str(file))
    options = EvaluationOptions(metrics=("fid",), features=str(file), samples=1437)
    evaluation = evaluate(Copies(DIGITS), options)
    assert evaluation.features is not None
    assert evaluation.features.name == "means.pt"
    assert evaluation.features.accuracy is None
    means = load_split(DIGITS, "train").read(np.arange(1437)).mean(axis=(1, 2))[:, 0] / 255
    drawn = Copies(DIGITS).draw(np.arange(1437) % 10, 1437, options.seed).mean(axis=(1, 2))[:, 0] / 255
    by_hand = (means.mean() - drawn.mean()) ** 2 + (means.std(ddof=1) - drawn.std(ddof=1)) ** 2
    assert evaluation.metrics["fid"] == pytest.approx(by_hand, rel=1e-3)


def test_options_that_do_not_suit_the_data_are_refused(tmp_path: Path) -> None:
    subject = Copies(DIGITS)
    with pytest.raises(ConfigError, match="metrics mode-coverage: needs data whose modes are known"):
        evaluate(subject, EvaluationOptions(metrics=("mode-coverage",)))
    with pytest.raises(ConfigError, match=r"metrics sharpness: no metric has this name\. Choose from fid, kid, "):
        evaluate(subject, EvaluationOptions(metrics=("sharpness",)))
    with pytest.raises(ConfigError, match=r"features must be auto, pixels, classifier, or .*\(got inception\)$"):
        evaluate(subject, EvaluationOptions(metrics=("fid",), features="inception"))
    with pytest.raises(ConfigError, match=r"the path of .* \(got nope.pt: there is no file /\S+/nope\.pt\)$"):
        evaluate(subject, EvaluationOptions(metrics=("fid",), features="nope.pt"))
    with pytest.raises(ConfigError, match="--samples 0: must be at least 1"):
        EvaluationOptions(samples=0)
    with pytest.raises(DataError, match=r"the model makes samples of shape \[8, 8, 1\], the data have \[2\]"):
        evaluate(subject, EvaluationOptions(data="ring"))
    subject.learned_from = None
    with pytest.raises(ConfigError, match="give them with --data"):
        evaluate(subject, EvaluationOptions())
    assert evaluate(subject, EvaluationOptions(data="digits", metrics=("sliced-wasserstein",))).data == "digits"


def test_data_are_found_by_name_or_path(tmp_path: Path) -> None:
    assert data_config("digits", DigitsConfig(split_seed=5), (8, 8, 1)).split_seed == 5
    assert data_config("ring", DIGITS, (2,)) == RingConfig()
    array = tmp_path / "images.npy"
    np.save(array, np.zeros((4, 8, 8, 1), np.uint8))
    config = data_config(str(array), DIGITS, (8, 8, 1))
    assert (config.source, config.path, config.size, config.channels) == ("array", str(array), 8, "gray")
    names = ("part.parquet", "data_batch_1.bin", "train-images-idx3-ubyte.gz", "cat.png")
    kinds = []
    for name in names:
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).touch()
        kinds.append(source_of(str(folder)))
    assert kinds == ["parquet", "cifar10", "idx", "folder"]
    with pytest.raises(ConfigError, match=r"nowhere: neither a file or folder nor a source\. The sources are array"):
        data_config("nowhere", None, (8, 8, 1))


def test_a_large_reference_is_reduced_to_a_fixed_part() -> None:
    reference = load_reference(RingConfig(count=30_000), (2,))
    assert len(reference.train) == 10_000
    assert reference.train.sha256() == load_reference(RingConfig(count=30_000), (2,)).train.sha256()


def test_an_evaluation_is_saved_for_its_checkpoint(tmp_path: Path) -> None:
    train(tiny_config(), tmp_path, device="cpu")
    options = EvaluationOptions(samples=40, metrics=("gan-train-test", "sliced-wasserstein"))
    evaluation = evaluate_run(tmp_path, options)
    model = load_trained(tmp_path)
    assert model.metrics == evaluation.metrics
    assert json.loads((tmp_path / "metrics.json").read_text()) == evaluation.to_dict()
    assert (evaluation.step, evaluation.checkpoint_sha256) == (12, model.checkpoint_sha256)
    assert evaluate_run(tmp_path, options) == evaluation
    train(tiny_config(steps=13), tmp_path, device="cpu")
    assert load_trained(tmp_path).metrics == {}  # The saved figures were of another checkpoint.


def test_very_unequal_counts_are_noted_where_fid_depends_on_them() -> None:
    def judged(samples: int, metric: str = "fid") -> Evaluation:
        options = EvaluationOptions(samples=samples, metrics=(metric,), features="pixels")
        return evaluate(Copies(DIGITS), options)

    few = judged(700)
    assert few.notes == (
        "FID compares 700 generated samples with 1,437 real ones, and the smaller count biases it upwards. Compare it "
        "only with FIDs of the same counts, or measure again with --samples 1437",
    )
    assert few.to_dict()["notes"] == list(few.notes)
    assert judged(1000).notes == ()
    assert judged(700, "sliced-wasserstein").notes == ()
    assert len(judged(3000).notes) == 1


def test_the_table_ends_with_the_notes(capsys: pytest.CaptureFixture[str]) -> None:
    options = EvaluationOptions(samples=500, metrics=("fid",), features="pixels")
    show([Named("x", evaluate(Copies(DIGITS), options))])
    assert capsys.readouterr().out.splitlines()[-1].startswith("note: FID compares 500 generated samples with 1,437")


def test_a_generator_without_labels_is_measured_by_the_labels_of_the_data() -> None:
    options = EvaluationOptions(metrics=("label-balance", "precision-recall"), samples=1500)
    unlabelled = replace(DIGITS, labels="ignore")
    evaluation = evaluate(Copies(unlabelled, labelled=False), options)
    assert evaluation.features is not None
    assert evaluation.features.name == "classifier"
    assert evaluation.metrics["label_balance"] > 0.7
    assert len(evaluation.by_label["label_share"]) == len(evaluation.label_names) == 10
    assert evaluation.beside_real["label_balance"].verdict == "good"


class OnlyNoughts(Copies):
    """Draw training samples of one label only."""

    def draw(self, labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        whole = load_split(DIGITS, "train")
        assert whole.labels is not None
        return whole.read(np.resize(np.flatnonzero(whole.labels == 0), count))


def test_a_generator_of_one_label_has_no_balance() -> None:
    options = EvaluationOptions(metrics=("label-balance",), samples=1500)
    evaluation = evaluate(OnlyNoughts(replace(DIGITS, labels="ignore"), labelled=False), options)
    assert evaluation.metrics["label_balance"] == 0.0
    assert evaluation.by_label["label_share"][0] > 5.0
    assert evaluation.beside_real["label_balance"].verdict == "poor"
