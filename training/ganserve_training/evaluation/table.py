"""The figures of an evaluation as a table, with what each means and what counts as good."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganserve_training.evaluation.evaluate import Evaluation
from ganserve_training.evaluation.judge import GAN_TEST_AT_LEAST, GAN_TRAIN_AT_LEAST, NN_DISTANCE_RATIO_WITHIN

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 120
_LOW, _HIGH = NN_DISTANCE_RATIO_WITHIN


@dataclass(frozen=True, slots=True)
class _Row:
    title: str
    good: str
    meaning: str
    form: str = ".3f"


_ROWS = {
    "fid": _Row("FID", "lower", "Frechet distance of the features' means and covariances"),
    "kid": _Row("KID", "0", "kernel distance of the features, unbiased", ".2e"),
    "precision": _Row("precision", "1", "generated samples among the real ones"),
    "recall": _Row("recall", "1", "real samples among the generated ones"),
    "density": _Row("density", "1 or more", "how densely real samples surround the generated ones"),
    "coverage": _Row("coverage", "1", "real samples with a generated one nearby"),
    "inception_score": _Row("Inception score", "as real ones", "sure and balanced labels, in the judge's eyes"),
    "inception_score_real": _Row("  of real samples", "", "held-out ones"),
    "sliced_wasserstein": _Row("sliced Wasserstein", "0", "distance of the values, over random directions", ".4f"),
    "gan_test": _Row("GAN-test", f"at least {GAN_TEST_AT_LEAST}", "samples that the judge gives the label asked for"),
    "gan_train": _Row(
        "GAN-train", f"at least {GAN_TRAIN_AT_LEAST}", "held-out real samples that a judge of generated ones gets right"
    ),
    "judge_accuracy": _Row("judge's accuracy", "", "held-out real samples that the judge of real ones gets right"),
    "nn_distance_ratio": _Row(
        "NN distance ratio", f"{_LOW} to {_HIGH}", "distance to the nearest training sample: 1 as real ones, 0 copies"
    ),
    "modes": _Row("modes", "all", "modes that a good sample reaches", ".0f"),
    "high_quality": _Row("high quality", "1", "samples within 3 standard deviations of a mode"),
    "reverse_kl": _Row("reverse KL", "0", "how unevenly the modes are reached, nats"),
    "mode_divergence": _Row("mode divergence", "0", "the same, counting samples between modes as a mode, nats"),
}


def show(model: str, evaluation: Evaluation) -> None:
    """Print the table to stdout."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)
    console.print(
        f"{model}, step {evaluation.step:,}: {evaluation.samples:,} samples, {evaluation.real_samples:,} real ones",
        markup=False,
        soft_wrap=True,
    )
    console.print(_metrics_table(evaluation))
    if evaluation.by_label:
        console.print(_label_table(evaluation))
    for line in _protocol(evaluation):
        console.print(line, markup=False, soft_wrap=True)


def _metrics_table(evaluation: Evaluation) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("good", no_wrap=True)
    table.add_column("meaning")
    for name, row in _ROWS.items():
        if name in evaluation.metrics:
            value = format(evaluation.metrics[name], row.form)
            table.add_row(row.title, value, row.good, row.meaning)
    return table


def _label_table(evaluation: Evaluation) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("label")
    for name in evaluation.by_label:
        table.add_column(_ROWS[name].title, justify="right")
    for label, values in zip(evaluation.label_names, zip(*evaluation.by_label.values(), strict=True), strict=True):
        table.add_row(label, *("-" if math.isnan(value) else f"{value:.3f}" for value in values))
    return table


def _protocol(evaluation: Evaluation) -> list[str]:
    """What the figures depend on: with other features, counts or references they don't compare."""
    lines = [
        f"reference: {evaluation.data}, {evaluation.real_samples:,} training and {evaluation.held_out_samples:,} "
        f"held-out samples, sha256 {evaluation.reference_sha256[:16]}; seed {evaluation.seed}"
    ]
    features = evaluation.features
    if features is not None:
        digest = "" if features.sha256 is None else f", sha256 {features.sha256[:16]}"
        accuracy = "" if features.accuracy is None else f", {features.accuracy:.3f} of held-out labels right"
        lines.append(f"features: {features.name}{digest}{accuracy}; resizing: {features.resizer}")
    return lines + [f"note: {note}" for note in evaluation.notes]
