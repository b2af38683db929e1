"""Print evaluations to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganserve_training.evaluation.table import (
    Named,
    Table,
    comparison_notes,
    explanations,
    figures_table,
    labels_table,
    short_names,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

_WIDTH_WITHOUT_TERMINAL = 120
_MOST_LABELS = 40
_COLOURS = {"good": "green", "fair": "yellow", "poor": "red"}


def show(models: Sequence[Named]) -> None:
    """Print the tables of one model, or of several side by side, to stdout."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    console = Console(file=sys.stdout, width=width, highlight=False)
    for model in models:
        _show_head(model, console)
    names = short_names([Path(model.name) for model in models])
    models = [replace(model, name=name) for model, name in zip(models, names, strict=True)]
    console.print(_rich(figures_table(models)))
    if len(models) == 1:
        (evaluation,) = (model.evaluation for model in models)
        lines = explanations(evaluation)
        if evaluation.by_label:
            console.print(_rich(labels_table(evaluation, _MOST_LABELS)))
            if len(evaluation.label_names) > _MOST_LABELS:
                lines.insert(0, f"labels: the {_MOST_LABELS} with the lowest figures; --json has all")
    else:
        lines = comparison_notes(models)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _show_head(model: Named, console: Console) -> None:
    evaluation = model.evaluation
    counts = f"{evaluation.samples:,} samples, {evaluation.real_samples:,} real ones"
    console.print(f"{model.name}, step {evaluation.step:,}: {counts}", markup=False, soft_wrap=True)
    for line in (evaluation.summary, evaluation.training):
        if line:
            console.print(f"  {line}", markup=False, soft_wrap=True)


def _rich(table: Table) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, title in enumerate(table.head):
        justify: Literal["left", "right"] = "right" if place in table.numbers else "left"
        whole = place not in table.wrapped
        made.add_column(Text(title), justify=justify, no_wrap=whole, overflow="fold")
    for row in table.rows:
        made.add_row(*(Text(cell.text, style=_COLOURS.get(cell.verdict or "", "")) for cell in row))
    return made
