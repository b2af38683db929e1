"""Lay out evaluations as tables, for terminals and pages: a model alone, or several side by side."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ganserve_training.evaluation.metric import Beside, Figure, all_metrics
from ganserve_training.evaluation.result import Evaluation
from ganserve_training.evaluation.verdict import Comparison, Verdict


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table."""

    text: str
    verdict: Verdict | None = None
    """Verdict on what the cell shows; None: it is not judged."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text."""

    head: tuple[str, ...]
    """Titles of the columns."""
    rows: tuple[tuple[Cell, ...], ...]
    numbers: frozenset[int] = frozenset()
    """Indices of columns that are aligned to the right."""
    wrapped: frozenset[int] = frozenset()
    """Indices of columns whose texts are long, and may be broken into lines."""


@dataclass(frozen=True, slots=True)
class Named:
    """A model with its evaluation."""

    name: str
    evaluation: Evaluation


def figures_table(models: Sequence[Named], *, side_by_side: bool | None = None) -> Table:
    """Return a row for each figure: of one model with verdict and meaning, or of all `side_by_side`.

    By default, several models are shown side by side.
    """
    rows = [(name, figure) for name, figure in _figures(models)]
    if len(models) > 1 if side_by_side is None else side_by_side:
        return Table(
            head=("metric", *(model.name for model in models)),
            rows=tuple(
                (Cell(figure.title), *(_value(model, name, figure) for model in models)) for name, figure in rows
            ),
            numbers=frozenset(range(1, len(models) + 1)),
            wrapped=frozenset(range(1, len(models) + 1)),
        )
    (model,) = models
    compared = model.evaluation.beside_real
    return Table(
        head=("metric", "value", "model / real", "verdict", "meaning"),
        rows=tuple(
            (
                Cell(figure.title),
                Cell(format(model.evaluation.metrics[name], figure.form)),
                *_beside(compared.get(name), figure),
                Cell(figure.meaning),
            )
            for name, figure in rows
        ),
        numbers=frozenset((1, 2)),
        wrapped=frozenset((4,)),
    )


def labels_table(evaluation: Evaluation, most: int | None = None) -> Table:
    """Return a row for each label, with its figures beside the judge's accuracy; of more than `most`, the lowest."""
    figures = dict(_figures([Named("", evaluation)]))
    shown = {name: values for name, values in evaluation.by_label.items() if name in figures}
    real = evaluation.by_label.get("judge_accuracy", ())
    rows = []
    places = list(range(len(evaluation.label_names)))
    if most is not None and len(places) > most:
        known = [[value for value in each if not math.isnan(value)] for each in zip(*shown.values(), strict=True)]
        places = sorted(sorted(places, key=lambda place: min(known[place], default=math.inf))[:most])
    for place in places:
        cells = [Cell(evaluation.label_names[place])]
        for name, values in shown.items():
            scale, whole = figures[name].scale, evaluation.beside_real.get(name)
            comparison = None
            if real and scale is not None and whole is not None:
                comparison = Comparison.of(Beside(values[place], real[place], whole.worst), scale)
            text = "-" if math.isnan(values[place]) else f"{values[place]:.3f}"
            cells.append(Cell(text, None if comparison is None else comparison.verdict))
        rows.append(tuple(cells))
    head = ("label", *(figures[name].title for name in shown))
    return Table(head=head, rows=tuple(rows), numbers=frozenset(range(1, len(head))))


def labels_comparison(models: Sequence[Named]) -> Table | None:
    """Return GAN-train of each label, side by side; None: the models have different labels, or it was not measured."""
    names = {model.evaluation.label_names for model in models}
    tables = [labels_table(model.evaluation) for model in models if "gan_train" in model.evaluation.by_label]
    if len(names) != 1 or len(tables) != len(models):
        return None
    places = [shown.head.index(dict(_figures(models))["gan_train"].title) for shown in tables]
    columns = [[row[place] for row in shown.rows] for shown, place in zip(tables, places, strict=True)]
    return Table(
        head=("label", *(model.name for model in models)),
        rows=tuple((Cell(name), *cells) for name, *cells in zip(*names, *columns, strict=True)),
        numbers=frozenset(range(1, len(models) + 1)),
    )


def explanations(evaluation: Evaluation) -> list[str]:
    """Return sentences below a model's tables: what is compared, what is missing, and what the figures depend on."""
    lines = []
    if evaluation.beside_real:
        count = evaluation.beside_real_samples
        judged = {"gan_test", "inception_score"} & evaluation.beside_real.keys()
        lines.append(
            f"model / real: {count:,} generated samples, and {count:,} held-out real ones in their place, measured in "
            f"the same way{'; with a judge: all generated samples, and its own figure' if judged else ''}"
        )
    lines += [f"left out: {name}: {why}" for name, why in evaluation.left_out.items()]
    lines.append(
        f"reference: {evaluation.data}, {evaluation.real_samples:,} training and {evaluation.held_out_samples:,} "
        f"held-out samples, sha256 {evaluation.reference_sha256[:16]}; seed {evaluation.seed}"
    )
    features = evaluation.features
    if features is not None:
        digest = "" if features.sha256 is None else f", sha256 {features.sha256[:16]}"
        accuracy = "" if features.accuracy is None else f", {features.accuracy:.3f} of held-out labels right"
        lines.append(f"features: {features.name}{digest}{accuracy}; resizing: {features.resizer}")
    return lines + [f"note: {note}" for note in evaluation.notes]


def comparison_notes(models: Sequence[Named]) -> list[str]:
    """Return what to know before comparing the figures of several models: what is missing, and what differs."""
    measured = [model.evaluation for model in models]
    missing = [(model.name, *reason) for model in models for reason in model.evaluation.left_out.items()]
    lines = [f"left out: {model}: {metric}: {why}" for model, metric, why in missing]
    different = [
        words
        for words, values in (
            ("real samples", {item.reference_sha256 for item in measured}),
            ("numbers of samples", {item.samples for item in measured}),
            ("features", {item.features and item.features.sha256 for item in measured}),
        )
        if len(values) > 1
    ]
    if different:
        what = " and ".join(different)
        lines.append(f"note: these models were measured with different {what}: compare verdicts, not values")
    return lines


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return names of models that fit into titles of columns: their paths without the folders common to all.

    Models of one path keep it.
    """
    whole = [path.absolute() for path in paths]
    common = Path(os.path.commonpath([path.parent for path in whole]))
    if len(set(whole)) < 2 or common == Path(common.anchor):
        return [str(path) for path in paths]
    short = [path.relative_to(common) for path in whole]
    return [str(min(pair, key=lambda one: len(one.parts))) for pair in zip(paths, short, strict=True)]


def _figures(models: Sequence[Named]) -> list[tuple[str, Figure]]:
    """Return the figures that some model has, in the order of tables; those of unknown metrics come last."""
    known = {name: figure for metric in all_metrics() for name, figure in metric.figures.items()}
    found = [name for model in models for name in model.evaluation.metrics]
    return [(name, figure) for name, figure in known.items() if name in found]


def _value(model: Named, name: str, figure: Figure) -> Cell:
    evaluation = model.evaluation
    if name not in evaluation.metrics:
        return Cell("-")
    comparison = evaluation.beside_real.get(name)
    value = format(evaluation.metrics[name], figure.form)
    return Cell(value) if comparison is None else Cell(f"{value} {comparison.verdict}", comparison.verdict)


def _beside(comparison: Comparison | None, figure: Figure) -> tuple[Cell, Cell]:
    if comparison is None:
        return Cell(""), Cell("")
    values = f"{comparison.model:{figure.form}} / {comparison.real:{figure.form}}"
    return Cell(values), Cell(comparison.verdict, comparison.verdict)
