"""How good a model's samples are. N = samples, H, W, C = image, D = values of a vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data import DataInfo, load_split
from ganserve_training.data.config import DataConfig
from ganserve_training.errors import ConfigError, DataError
from ganserve_training.evaluation.features import Features, classifier_features, plain_features, torchscript_features
from ganserve_training.evaluation.judge import Judgement, judge_samples
from ganserve_training.evaluation.metric_registry import (
    FEATURE_METRICS,
    Material,
    check_metrics,
    default_metrics,
    measure,
)
from ganserve_training.evaluation.metrics.coverage import Modes
from ganserve_training.evaluation.options import EvaluationOptions, FeatureRange
from ganserve_training.evaluation.reference import Reference, data_config, load_reference
from ganserve_training.evaluation.subjects import RunSubject, Subject
from ganserve_training.run.folder import RunFolder, Which
from ganserve_training.run.progress_bar import Steps

FEWEST_SAMPLES, MOST_SAMPLES = 1500, 10_000
UNEQUAL_COUNTS = 2.0
"""Real over generated samples, or the other way round, from which a report says that FID depends on it."""

FeatureLoader = Callable[[Path, DataInfo, int | None, FeatureRange], Features]
"""Makes features from a file: its path, what the samples look like, side in pixels, range of values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureReport:
    """What the compared features were."""

    name: str
    sha256: str | None
    resizer: str
    accuracy: float | None
    """Of the classifier, on held-out real samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What was judged, how, and the verdict."""

    step: int
    """Training step of the checkpoint."""
    checkpoint_sha256: str
    samples: int
    """How many were drawn, with balanced labels."""
    seed: int
    """Of their latents."""
    data: str
    """Where the real samples come from."""
    real_samples: int
    """How many they were compared with: training samples."""
    held_out_samples: int
    """How many others the judge and the distance ratio used."""
    reference_sha256: str
    """Of the training samples."""
    features: FeatureReport | None
    """None: no metric needed any."""
    label_names: tuple[str, ...]
    """Of by_label."""
    metrics: dict[str, float]
    """By name, such as fid, precision, gan_test."""
    by_label: dict[str, tuple[float, ...]]
    """gan_test and gan_train of each label."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before comparing the figures, in sentences."""
        fewer, more = sorted((self.samples, self.real_samples))
        if "fid" not in self.metrics or more < UNEQUAL_COUNTS * fewer:
            return ()
        return (
            f"FID compares {self.samples:,} generated samples with {self.real_samples:,} real ones, and is biased "
            f"upwards by the fewer: compare it with FIDs of the same counts only, or measure again with --samples "
            f"{self.real_samples}",
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form: what metrics.json holds. A figure that is not a number is null."""
        values = asdict(self)
        values["label_names"] = list(self.label_names)
        values["notes"] = list(self.notes)
        values["by_label"] = {
            name: [None if np.isnan(value) else value for value in each] for name, each in self.by_label.items()
        }
        return values


def evaluate_run(
    run: Path,
    options: EvaluationOptions | None = None,
    *,
    which: Which = "auto",
    load_features: FeatureLoader | None = None,
    samples: int | None = None,
    steps: Steps | None = None,
) -> Evaluation:
    """Judge samples of a run's averaged generator and save the figures in its metrics.json.

    Args:
        run: The run's folder.
        options: What to measure.
        which: Of its checkpoints, as `load_trained` says.
        load_features: Makes features of other files than TorchScript's.
        samples: How many to draw, where `options` aren't given.
        steps: Is told what is being done.

    Raises:
        CheckpointError: The run has no whole checkpoint.
        ConfigError: A metric or the features don't suit the data.
        DataError: The data can't be read, or there are too few samples.
    """
    evaluation = evaluate(
        RunSubject(run, which),
        options or EvaluationOptions(samples=samples),
        load_features=load_features,
        steps=steps,
    )
    RunFolder(run).write_evaluation(evaluation.to_dict())
    return evaluation


def evaluate(
    subject: Subject,
    options: EvaluationOptions,
    *,
    load_features: FeatureLoader | None = None,
    steps: Steps | None = None,
) -> Evaluation:
    """Judge samples of anything that draws them; arguments and errors as of `evaluate_run`."""
    steps = steps or Steps()
    steps.next("reading the data")
    config = subject.learned_from
    if options.data is not None:
        config = data_config(options.data, config, subject.sample_shape)
    if config is None:
        raise ConfigError("the model doesn't tell which data it learned from: give them with --data")
    reference = load_reference(config, subject.sample_shape)
    train = reference.train
    names = subject.label_names
    conditional = bool(names) and names == train.info.label_names
    metrics = options.metrics or default_metrics(train, reference.modes, conditional=conditional)
    check_metrics(metrics, train, reference.modes, conditional=conditional)
    features, accuracy = None, None
    needs_features = bool(FEATURE_METRICS & set(metrics))
    steps.expect(2 + needs_features + len(set(metrics)))
    if needs_features:
        steps.next("making the features")
        features, accuracy = _features(options, reference, load_features)
    count = options.samples or default_samples(reference.modes, len(train))
    labels = balanced_labels(count, len(names)) if names else None
    steps.next(f"drawing {count:,} samples")
    material = Material(
        samples=subject.draw(labels, count, options.seed),
        labels=labels if conditional else None,
        train=train,
        held_out=reference.held_out,
        features=features,
        modes=reference.modes,
        seed=options.seed,
    )
    measured = measure(metrics, material, steps)
    return Evaluation(
        step=subject.step,
        checkpoint_sha256=subject.checkpoint_sha256,
        samples=count,
        seed=options.seed,
        data=str(config),
        real_samples=len(train),
        held_out_samples=len(reference.held_out),
        reference_sha256=reference.sha256,
        features=None
        if features is None
        else FeatureReport(name=features.name, sha256=features.sha256, resizer=features.resizer, accuracy=accuracy),
        label_names=names if measured.by_label else (),
        metrics=measured.metrics,
        by_label=measured.by_label,
    )


def default_samples(modes: Modes | None, real: int) -> int:
    """How many samples to draw: the published protocols' counts, or else about as many as there are real ones."""
    if modes is not None:
        return 26_000 if modes.count == 1000 else 2500
    return min(max(real, FEWEST_SAMPLES), MOST_SAMPLES)


def evaluate_samples(samples: NDArray[Any], labels: NDArray[np.int64], config: DataConfig) -> Judgement:
    """Judge generated samples, wherever they come from, against the data that `config` names.

    Args:
        samples: Uint8 [N, H, W, C] or float32 [N, D].
        labels: The labels that were asked for, int64 [N].
        config: The data that the generator learned from.

    Raises:
        DataError: The data have no labels, the samples have another shape, or a label has no sample.
    """
    return judge_samples(samples, labels, load_split(config, "train"), load_split(config, "held_out"))


def balanced_labels(count: int, classes: int) -> NDArray[np.int64]:
    """`count` labels, each of `classes` equally often (to within one): int64 [count].

    Raises:
        DataError: There are fewer samples than labels.
    """
    if count < classes:
        raise DataError(f"samples must be at least {classes}, one for each label (got {count})")
    return np.arange(count, dtype=np.int64) % classes


def _features(
    options: EvaluationOptions, reference: Reference, load: FeatureLoader | None
) -> tuple[Features, float | None]:
    """The features that `options` ask for, and the classifier's accuracy."""
    info, choice = reference.train.info, options.features
    if choice == "auto":
        choice = "classifier" if info.is_image and reference.train.labels is not None else "pixels"
    if choice in ("pixels", "values"):
        return plain_features(info), None
    if choice == "classifier":
        return classifier_features(reference.train, reference.held_out)
    file = Path(choice)
    if not file.is_file():
        missing = f": there is no file {file.resolve()}" if file.suffix or len(file.parts) > 1 else ""
        raise ConfigError(
            "features must be auto, pixels, classifier, or the path of a TorchScript file (.pt) or an ONNX file (got "
            f"{choice}{missing})"
        )
    if file.suffix in (".pt", ".pth", ".jit"):
        return torchscript_features(file, info, side_px=options.feature_side_px, values=options.feature_range), None
    if load is None:
        raise ConfigError(f"features {file} can't be read here: use a TorchScript file, named .pt")
    return load(file, info, options.feature_side_px, options.feature_range), None
