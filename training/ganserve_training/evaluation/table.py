"""Print an evaluation as a table that says what each figure means and which values are good."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from ganserve_training.evaluation.metric import Figure, all_metrics
from ganserve_training.evaluation.result import Evaluation

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 120


def show(model: str, evaluation: Evaluation) -> None:
    """Print the table to stdout."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)
    console.print(
        f"{model}, step {evaluation.step:,}: {evaluation.samples:,} samples, {evaluation.real_samples:,} real ones",
        markup=False,
        soft_wrap=True,
    )
    figures = {name: figure for metric in all_metrics() for name, figure in metric.figures.items()}
    console.print(_metrics_table(evaluation, figures))
    if evaluation.by_label:
        console.print(_label_table(evaluation, figures))
    for line in _protocol(evaluation):
        console.print(line, markup=False, soft_wrap=True)


def _metrics_table(evaluation: Evaluation, figures: dict[str, Figure]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("good", no_wrap=True)
    table.add_column("meaning")
    for name, figure in figures.items():
        if name in evaluation.metrics:
            value = format(evaluation.metrics[name], figure.form)
            table.add_row(figure.title, value, figure.good, figure.meaning)
    return table


def _label_table(evaluation: Evaluation, figures: dict[str, Figure]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("label")
    for name in evaluation.by_label:
        table.add_column(figures[name].title, justify="right")
    for label, values in zip(evaluation.label_names, zip(*evaluation.by_label.values(), strict=True), strict=True):
        table.add_row(label, *("-" if math.isnan(value) else f"{value:.3f}" for value in values))
    return table


def _protocol(evaluation: Evaluation) -> list[str]:
    """Say what the figures depend on: compare only figures with the same features, counts and reference."""
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
