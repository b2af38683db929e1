"""Render a page that shows several runs side by side."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from ganserve_training.config.serialisation import flat_config
from ganserve_training.diagnosis import Observation
from ganserve_training.evaluation.table import Named, comparison_notes, figures_table, labels_comparison
from ganserve_training.report.charts import BLUE, GRAY, GREEN, ORANGE, PURPLE, RED, SKY, Chart, figure, line
from ganserve_training.report.material import RunMaterial
from ganserve_training.report.page import last_words, real_picture, state
from ganserve_training.report.parts import chart_figures, lines, page, picture, section, table, text_table

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GRAY)

Values = Callable[[RunMaterial], list[tuple[float, float | None]]]
"""Takes a run; returns its steps and values."""


def render(runs: Sequence[RunMaterial]) -> str:
    """Return the whole page."""
    title = " and ".join([", ".join(run.name for run in runs[:-1]), runs[-1].name])
    return page(title, (_header(runs), _metrics(runs), _samples(runs), _curves(runs), _options(runs)))


def _header(runs: Sequence[RunMaterial]) -> str:
    items = "".join(
        f'<li><span class="badge" style="background:{_colour(place)}"></span><div>'
        f"<h3>{escape(run.name)} <small>{escape(state(run))}</small></h3>{last_words(run)}</div></li>"
        for place, run in enumerate(runs)
    )
    return f'<header><h1>{len(runs)} runs</h1><ol class="findings">{items}</ol></header>\n'


def _metrics(runs: Sequence[RunMaterial]) -> str:
    models = [Named(run.name, run.evaluation) for run in runs if run.evaluation is not None]
    missing = [run.name for run in runs if run.evaluation is None]
    hint = [f"Not evaluated yet, by ganserve evaluate: {', '.join(missing)}."] if missing else []
    if not models:
        return section("Metrics", lines(hint))
    tables = table(figures_table(models, side_by_side=True))
    labels = labels_comparison(models)
    if labels is not None:
        tables += f"<details open><summary>GAN-train by label</summary>{table(labels)}</details>"
    return section("Metrics", f"{tables}{lines([*hint, *comparison_notes(models)])}", name="metrics")


def _samples(runs: Sequence[RunMaterial]) -> str:
    shown = [run for run in runs if run.pictures]
    if not shown:
        return ""
    alike = len({run.row_labels for run in shown}) == 1
    same_data = len({run.config.data for run in shown}) == 1
    grids = [real_picture(shown[0])] if same_data else []
    for run in shown:
        step, path = run.pictures[-1]
        image = picture(path, f"samples of {run.name} at step {step}")
        caption = f"{escape(run.name)}, step {step:,}"
        grids.append(f'<figure class="frames"><figcaption>{caption}</figcaption>{image}</figure>')
        if not same_data:
            grids.append(real_picture(run, f"real, for {run.name}"))
    rows = "one row per label, " if alike and shown[0].row_labels else ""
    text = f"<p>From the averaged generators, {rows}with the same seed of the latents.</p>"
    return section("Samples", f'{text}<div class="side">{"".join(grids)}</div>', name="samples")


def _curves(runs: Sequence[RunMaterial]) -> str:
    steps = max(run.step for run in runs)
    made = []
    for title, hint, values, options in _measures(runs):
        drawn = [line(values(run), run.name, _colour(place)) for place, run in enumerate(runs)]
        drawn = [one for one in drawn if one is not None]
        if drawn:
            made.append(Chart(title, hint, figure(drawn, steps, **options)))
    return section("Curves", chart_figures(made)) if made else ""


def _measures(runs: Sequence[RunMaterial]) -> list[tuple[str, str, Values, dict[str, Any]]]:
    """Return title, hint, values and options of each chart."""
    seen = [item for run in runs for item in run.observations if item.quality_name is not None]
    qualities = sorted({(str(item.quality_name), item.higher_is_better) for item in seen})
    percent = {"percent": True, "level": 1.0}
    return [
        *(
            (
                f"Quality: {name.replace('_', ' ')}",
                f"Quality of the averaged generator's samples; {'higher' if higher else 'lower'} is better.",
                _quality(name),
                {},
            )
            for name, higher in qualities
        ),
        (
            "Diversity",
            "Mean distance between generated samples relative to real ones.",
            _observed(lambda item: item.diversity),
            percent,
        ),
        (
            "Precision",
            "Share of generated samples among real ones, relative to other real samples.",
            _observed(lambda item: item.precision),
            percent,
        ),
        (
            "Recall",
            "Share of real samples among generated ones, relative to other real samples.",
            _observed(lambda item: item.recall),
            percent,
        ),
        (
            "Regions reached",
            "Share of the data's regions that the generated samples reach.",
            _observed(lambda item: item.regions_reached / item.regions),
            percent,
        ),
        (
            "Critic accuracy",
            "How often the critic is right on training and generated samples; one half: it cannot tell any more.",
            _observed(lambda item: item.critic_accuracy),
            {"percent": True, "level": 0.5},
        ),
        *(
            (
                f"Loss of the {player}",
                "Without penalties; compare only runs with the same loss.",
                _logged(f"{player}_loss"),
                {},
            )
            for player in ("critic", "generator")
        ),
    ]


def _quality(name: str) -> Values:
    return _observed(lambda item: item.quality if item.quality_name == name else None)


def _observed(value: Callable[[Observation], float | None]) -> Values:
    return lambda run: [(item.step, value(item)) for item in run.observations]


def _logged(name: str) -> Values:
    return lambda run: [(record["step"], record.get(name)) for record in run.log]


def _options(runs: Sequence[RunMaterial]) -> str:
    flat = [flat_config(run.config) for run in runs]
    paths = sorted({path for one in flat for path in one})
    rows = [
        (path, *(repr(one[path]) if path in one else "-" for one in flat))
        for path in paths
        if len({repr(one.get(path)) for one in flat}) > 1
    ]
    if not rows:
        return section("Options", "<p>All runs have the same options.</p>")
    healed = [escape(run.name) for run in runs if run.cures]
    as_asked = f" As they were asked for: {', '.join(healed)} changed some by healing." if healed else ""
    return section(
        "Options", f"<p>Those that differ.{as_asked}</p>{text_table(rows, ('option', *(run.name for run in runs)))}"
    )


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
