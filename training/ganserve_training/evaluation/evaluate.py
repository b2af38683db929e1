"""Evaluate a model: draw samples and measure them. N = samples, H, W, C = image, D = values of a vector."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data import load_split
from ganserve_training.data.config import DataConfig
from ganserve_training.diagnosis.last_word import read_last_word
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation.judge import Judgement, judge_samples
from ganserve_training.evaluation.metric import DataTraits, Material, choose_metrics, measure
from ganserve_training.evaluation.options import EvaluationOptions
from ganserve_training.evaluation.reference import data_config
from ganserve_training.evaluation.result import Evaluation
from ganserve_training.evaluation.verdict import compare, sum_up
from ganserve_training.evaluation.yardsticks import FeatureLoader, Yardsticks
from ganserve_training.networks.own_code import failures_told
from ganserve_training.run.command_progress import Steps
from ganserve_training.run.run_folder import RunFolder, Which
from ganserve_training.run.trained_model import draw_samples, load_trained


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


@failures_told()
def evaluate_run(
    run: Path,
    options: EvaluationOptions | None = None,
    *,
    which: Which = "auto",
    load_features: FeatureLoader | None = None,
    samples: int | None = None,
    steps: Steps | None = None,
    yardsticks: Yardsticks | None = None,
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
        yardsticks: Keeps what models of the same data share; give one to evaluate several.
        trust: Allow code that the run names, as `load_trained` takes it.

    Raises:
        CheckpointError: The run has no whole checkpoint.
        ConfigError: A metric or the features do not suit the data.
        DataError: The data cannot be read.
    """
    options = options or EvaluationOptions(samples=samples)
    subject = run_subject(run, which, trust=trust)
    evaluation = evaluate(subject, options, load_features=load_features, steps=steps, yardsticks=yardsticks)
    folder = RunFolder(run)
    word = read_last_word(folder)
    evaluation = replace(evaluation, training="" if word is None else word.sentence)
    folder.write_evaluation(evaluation.to_dict())
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
    yardsticks: Yardsticks | None = None,
) -> Evaluation:
    """Evaluate anything that draws samples; arguments and errors are those of `evaluate_run`."""
    steps = steps or Steps()
    steps.next("reading the data")
    config = subject.learned_from
    if options.data is not None:
        config = data_config(options.data, config, subject.sample_shape)
    if config is None:
        raise ConfigError("the model does not say which data it learned from: give them with --data")
    names = subject.label_names
    yardsticks = yardsticks or Yardsticks(options, load_features)
    yardstick = yardsticks.of(config, subject.sample_shape, needs_labels=bool(names))
    train = yardstick.reference.train
    conditional = bool(names) and names == train.info.label_names
    traits = DataTraits(
        is_image=train.info.is_image,
        has_labels=train.labels is not None,
        has_modes=yardstick.reference.modes is not None,
        takes_labels=conditional,
    )
    metrics = choose_metrics(options.metrics, traits)
    needs_features = any(metric.compares_features for metric in metrics)
    steps.expect(3 + needs_features + len(metrics))
    if needs_features:
        steps.next("making the features")
        yardstick.make_features()
    real = yardstick.real
    count = yardstick.count if options.samples else max(yardstick.count, len(names))

    def draw(labels: NDArray[np.int64] | None, count: int, seed: int) -> Material:
        samples = subject.draw(labels, count, seed)
        finite = _finite_rows(samples)
        shown = labels[finite] if labels is not None and conditional else None
        return Material(samples=samples[finite], labels=shown, reference=yardstick.reference, seed=options.seed)

    steps.next(f"drawing {count:,} samples")
    labels = balanced_labels(count, len(names)) if names else None
    material = draw(labels, count, options.seed)
    measured = measure(metrics, material, steps)
    steps.next("measuring real samples")
    alike = real.labels if conditional else None if labels is None else labels[: real.count]
    compared = compare(measured.figures, material, lambda: draw(alike, real.count, options.seed + 1), real)
    not_finite = count - len(material.samples)
    return Evaluation(
        step=subject.step,
        checkpoint_sha256=subject.checkpoint_sha256,
        samples=count,
        seed=options.seed,
        data=str(config),
        real_samples=len(train),
        held_out_samples=len(yardstick.reference.held_out),
        reference_sha256=train.sha256(),
        features=yardstick.report if needs_features else None,
        label_names=train.info.label_names if measured.by_label else (),
        metrics=measured.figures,
        by_label=measured.by_label,
        beside_real=compared,
        beside_real_samples=real.count if compared else 0,
        not_finite=not_finite,
        **sum_up(compared, not_finite, count, real.count),
        left_out=measured.left_out,
    )


def evaluate_samples(samples: NDArray[Any], labels: NDArray[np.int64], config: DataConfig) -> Judgement:
    """Judge generated samples of any origin, uint8 [N, H, W, C] or float32 [N, D], against the data of `config`.

    `labels` int64 [N] are those that were asked for. Raise DataError if the data have no labels, the samples have
    another shape, or a label has no sample.
    """
    return judge_samples(samples, labels, load_split(config, "train"), load_split(config, "held_out"))


def balanced_labels(count: int, classes: int) -> NDArray[np.int64]:
    """Return labels int64 [count], each of `classes` equally often to within one; ConfigError if they are too few."""
    if count < classes:
        raise ConfigError(f"--samples {count}: must be at least {classes}, one for each label.")
    return np.arange(count, dtype=np.int64) % classes


def _finite_rows(samples: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which samples hold no NaN and no infinite value, bool [N]."""
    return np.asarray(np.isfinite(samples.reshape(len(samples), -1)).all(axis=1), np.bool_)
