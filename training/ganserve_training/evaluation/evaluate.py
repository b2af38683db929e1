"""Evaluate a model: draw samples and measure them. N = samples, H, W, C = image, D = values of a vector."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data import DataInfo, load_split
from ganserve_training.data.config import DataConfig
from ganserve_training.errors import ConfigError, DataError
from ganserve_training.evaluation.features import Features, classifier_features, plain_features, torchscript_features
from ganserve_training.evaluation.judge import Judgement, judge_samples
from ganserve_training.evaluation.metric import DataTraits, Material, choose_metrics, measure
from ganserve_training.evaluation.modes import Modes
from ganserve_training.evaluation.options import EvaluationOptions, FeatureRange
from ganserve_training.evaluation.reference import Reference, data_config, load_reference
from ganserve_training.evaluation.result import Evaluation, FeatureReport
from ganserve_training.run.command_progress import Steps
from ganserve_training.run.run_folder import RunFolder, Which
from ganserve_training.run.trained_model import draw_samples, load_trained

FEWEST_SAMPLES, MOST_SAMPLES = 1500, 10_000

FeatureLoader = Callable[[Path, DataInfo, int | None, FeatureRange], Features]
"""Makes features from a file: takes its path, what the samples look like, side in pixels, range of values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A generator to evaluate: of a run, of a package, or your own."""

    sample_shape: tuple[int, ...]
    """Shape of one sample: (H, W, C) or (D,)."""
    label_names: tuple[str, ...]
    """Names of the labels that it takes; empty: none."""
    learned_from: DataConfig | None
    """Data that it learned from; None: unknown."""
    step: int
    """Training step of its checkpoint."""
    checkpoint_sha256: str
    """Digest of its checkpoint; empty: unknown."""
    draw: Callable[[NDArray[np.int64] | None, int, int], NDArray[Any]]
    """Takes labels int64 [N] or None, N, and a seed; returns samples uint8 [N, H, W, C] or float32 [N, D]. The latents
    are those of `draw_samples` with this seed."""


def evaluate_run(
    run: Path,
    options: EvaluationOptions | None = None,
    *,
    which: Which = "auto",
    load_features: FeatureLoader | None = None,
    samples: int | None = None,
    steps: Steps | None = None,
    trust: bool = False,
) -> Evaluation:
    """Evaluate samples of a run's averaged generator and save the figures in its metrics.json.

    Args:
        run: The run's folder.
        options: The choices of the evaluation.
        which: The checkpoint, as `load_trained` takes it.
        load_features: Makes features from files that are not TorchScript.
        samples: Number of samples to draw if `options` is None.
        steps: Takes a message before each step.
        trust: Allow code that the run names, as `load_trained` takes it.

    Raises:
        CheckpointError: The run has no whole checkpoint.
        ConfigError: A metric or the features do not suit the data.
        DataError: The data cannot be read, or there are too few samples.
    """
    options = options or EvaluationOptions(samples=samples)
    evaluation = evaluate(run_subject(run, which, trust=trust), options, load_features=load_features, steps=steps)
    RunFolder(run).write_evaluation(evaluation.to_dict())
    return evaluation


def run_subject(run: Path, which: Which = "auto", *, trust: bool = False) -> Subject:
    """Return the averaged generator of a run's checkpoint, which draws samples on the CPU.

    Raise CheckpointError if the run has no whole checkpoint.
    """
    model = load_trained(run, which, trust=trust)
    return Subject(
        sample_shape=model.data.sample_shape,
        label_names=model.label_names,
        learned_from=model.config.data,
        step=model.step,
        checkpoint_sha256=model.checkpoint_sha256,
        draw=lambda labels, count, seed: draw_samples(model.generator, model.prior, model.data, labels, count, seed),
    )


def evaluate(
    subject: Subject,
    options: EvaluationOptions,
    *,
    load_features: FeatureLoader | None = None,
    steps: Steps | None = None,
) -> Evaluation:
    """Evaluate anything that draws samples; arguments and errors are those of `evaluate_run`."""
    steps = steps or Steps()
    steps.next("reading the data")
    config = subject.learned_from
    if options.data is not None:
        config = data_config(options.data, config, subject.sample_shape)
    if config is None:
        raise ConfigError("the model does not say which data it learned from: give them with --data")
    reference = load_reference(config, subject.sample_shape)
    train, names = reference.train, subject.label_names
    conditional = bool(names) and names == train.info.label_names
    has_labels, has_modes = train.labels is not None, reference.modes is not None
    traits = DataTraits(
        is_image=train.info.is_image, has_labels=has_labels, has_modes=has_modes, takes_labels=conditional
    )
    metrics = choose_metrics(options.metrics, traits)
    features, report = None, None
    needs_features = any(metric.compares_features for metric in metrics)
    steps.expect(2 + needs_features + len(metrics))
    if needs_features:
        steps.next("making the features")
        features, accuracy = _features(options, reference, load_features)
        report = FeatureReport(name=features.name, sha256=features.sha256, resizer=features.resizer, accuracy=accuracy)
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
    figures, by_label = measure(metrics, material, steps)
    return Evaluation(
        step=subject.step,
        checkpoint_sha256=subject.checkpoint_sha256,
        samples=count,
        seed=options.seed,
        data=str(config),
        real_samples=len(train),
        held_out_samples=len(reference.held_out),
        reference_sha256=train.sha256(),
        features=report,
        label_names=names if by_label else (),
        metrics=figures,
        by_label=by_label,
    )


def default_samples(modes: Modes | None, real: int) -> int:
    """Return how many samples to draw: as the published protocols do, else about as many as there are real ones."""
    if modes is not None:
        return 26_000 if modes.count == 1000 else 2500
    return min(max(real, FEWEST_SAMPLES), MOST_SAMPLES)


def evaluate_samples(samples: NDArray[Any], labels: NDArray[np.int64], config: DataConfig) -> Judgement:
    """Judge generated samples of any origin, uint8 [N, H, W, C] or float32 [N, D], against the data of `config`.

    `labels` int64 [N] are those that were asked for. Raise DataError if the data have no labels, the samples have
    another shape, or a label has no sample.
    """
    return judge_samples(samples, labels, load_split(config, "train"), load_split(config, "held_out"))


def balanced_labels(count: int, classes: int) -> NDArray[np.int64]:
    """Return labels int64 [count], each of `classes` as often (to within one); raise DataError if they are too few."""
    if count < classes:
        raise DataError(f"samples must be at least {classes}, one for each label (got {count})")
    return np.arange(count, dtype=np.int64) % classes


def _features(
    options: EvaluationOptions, reference: Reference, load: FeatureLoader | None
) -> tuple[Features, float | None]:
    """Return the features that `options` ask for, and the classifier's accuracy."""
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
        raise ConfigError(f"features {file}: this kind of file cannot be read here. Use a TorchScript file, named .pt")
    return load(file, info, options.feature_side_px, options.feature_range), None
