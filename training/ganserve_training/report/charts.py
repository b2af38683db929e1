"""Draw the curves of a report, and mark the findings on them. To add a curve, add a line to `charts`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from ganserve_training.diagnosis import Observation
from ganserve_training.diagnosis.last_word import Episode, episodes
from ganserve_training.diagnosis.quality_history import best_observation
from ganserve_training.report.material import RunMaterial

# Okabe & Ito's palette, whose colours people with colour-blindness can tell apart.
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY, GRAY = "#cc79a7", "#56b4e9", "#6b7280"
KIND_COLOURS = {
    "vanishing-gradients": PURPLE,
    "no-progress": GRAY,
    "idle-critic": GRAY,
    "mode-collapse": RED,
    "winning-critic": PURPLE,
    "ignored-labels": RED,
    "low-precision": ORANGE,
    "low-recall": ORANGE,
    "oscillation": ORANGE,
    "critic-overfitting": BLUE,
    "divergence": "#b00020",
    "convergence": GREEN,
    "decline": "#8a5a00",
}
_MOST_POINTS = 1200
_HEIGHT_PX = 300


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with its title and a hint."""

    title: str
    hint: str
    figure: Any


def charts(run: RunMaterial) -> list[Chart]:
    """Draw each chart for which the run has numbers."""
    made: list[Chart] = []
    told = episodes(run.findings)

    def add(
        title: str, hint: str, *lines: Any, percent: bool = False, log: bool = False, level: float | None = None
    ) -> None:
        drawn = [line for line in lines if line is not None]
        if drawn:
            shown = figure(drawn, run.step, percent=percent, logarithmic=log, level=level)
            _mark(shown, told, run.step)
            made.append(Chart(title, hint, shown))

    def observed(field: str, name: str, colour: str, dash: str = "solid") -> Any:
        return line([(item.step, getattr(item, field)) for item in run.observations], name, colour, dash)

    def logged(field: str, name: str, colour: str) -> Any:
        return line([(record["step"], record.get(field)) for record in run.log], name, colour)

    add(
        "Losses",
        "The loss of each player, without penalties. The level means little; look for swings and runaways.",
        logged("critic_loss", "critic", BLUE),
        logged("generator_loss", "generator", ORANGE),
    )
    if not run.observations:
        hint = "Share of right answers."
        add("Critic accuracy", hint, logged("critic_accuracy", "critic", BLUE), percent=True, level=0.5)
        return made
    add(
        "Critic accuracy",
        "Share of right answers. All near one half: the critic guesses. Held-out far below training: "
        "it has memorised its samples.",
        observed("real_accuracy", "training samples", BLUE),
        observed("held_out_accuracy", "held-out samples", SKY, "dot"),
        observed("fake_accuracy", "generated samples", ORANGE),
        percent=True,
        level=0.5,
    )
    reached = [(item.step, item.regions_reached / item.regions) for item in run.observations]
    add(
        "Diversity",
        "Mean distance between generated samples relative to real ones, and the share of the data's regions that they "
        "reach.",
        observed("diversity", "diversity", GREEN),
        line(reached, f"{run.observations[-1].region_kind} reached", BLUE, "dot"),
        percent=True,
        level=1.0,
    )
    add(
        "Precision and recall",
        "Relative to other real samples. Low precision: samples unlike the data. Low recall: variety is missing.",
        observed("precision", "precision", BLUE),
        observed("recall", "recall", ORANGE),
        percent=True,
        level=1.0,
    )
    add(
        "Scores",
        "The critic's mean score of each kind of sample. Drifting apart without end: divergence.",
        observed("real_score", "training samples", BLUE),
        observed("held_out_score", "held-out samples", SKY, "dot"),
        observed("fake_score", "generated samples", ORANGE),
    )
    add(
        "Gradients",
        "Norm of the gradient from the critic. If it falls by orders of magnitude, the generator stops learning.",
        observed("sample_gradient_norm", "at a generated sample", PURPLE),
        observed("generator_gradient_norm", "at the generator's weights", ORANGE),
        log=True,
    )
    measured = [item for item in run.observations if item.quality is not None]
    if measured:
        better = "higher" if measured[-1].higher_is_better else "lower"
        add(
            f"Quality: {str(measured[-1].quality_name).replace('_', ' ')}",
            f"Quality of the averaged generator's samples; {better} is better. The star marks the best.",
            observed("quality", "quality", BLUE),
            _best(measured),
        )
    return made


def figure(
    lines: list[Any], steps: int, *, percent: bool = False, logarithmic: bool = False, level: float | None = None
) -> Any:
    """Return a figure over the steps 0 to `steps`, with a dashed line at `level`; the page sets its other colours."""
    made = go.Figure(lines)
    made.update_layout(
        height=_HEIGHT_PX,
        autosize=True,
        margin={"l": 48, "r": 12, "t": 28, "b": 36},
        template="plotly_white",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified",
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "xanchor": "left"},
        xaxis={"title": {"text": "step", "standoff": 4}, "range": [0, steps or 1], "fixedrange": False},
        yaxis={"type": "log" if logarithmic else "linear", "tickformat": "~g", "nticks": 7},
    )
    if percent:
        made.update_yaxes(tickformat=".0%", rangemode="tozero")
    if level is not None:
        made.add_hline(y=level, line={"color": "#9aa2ae", "width": 1, "dash": "dash"})
    return made


def _mark(drawn: Any, told: Sequence[Episode], steps: int) -> None:
    """Mark each finding: a line at its step with its number in the page's list, and a band while it lasted."""
    for number, episode in enumerate(told, start=1):
        begin = episode.finding
        colour = KIND_COLOURS[begin.kind]
        end = steps if episode.end is None else episode.end.step
        if episode.is_trouble:
            drawn.add_vrect(x0=begin.step, x1=end, fillcolor=colour, opacity=0.07, line_width=0, layer="below")
        drawn.add_vline(
            x=begin.step,
            line={"color": colour, "width": 1.5, "dash": "dot"},
            annotation={
                "text": f"<b>{number}</b>",
                "font": {"color": "white", "size": 11},
                "bgcolor": colour,
                "borderpad": 2,
                "hovertext": f"{begin.kind.replace('-', ' ')} {episode.span}",
                "y": 1.0,
                "yanchor": "top",
                "xanchor": "center",
                "showarrow": False,
            },
        )


def _best(seen: Sequence[Observation]) -> Any:
    best = best_observation(seen)
    if best is None:
        return None
    return go.Scatter(
        x=[best.step],
        y=[best.quality],
        mode="markers",
        name=f"best, step {best.step}",
        marker={"symbol": "star", "size": 13, "color": ORANGE, "line": {"color": "white", "width": 1}},
    )


def line(points: Sequence[tuple[float, float | None]], name: str, colour: str, dash: str = "solid") -> Any:
    """Draw a line through the points that have a value; None: no point has one."""
    thin = _thinned([(step, value) for step, value in points if value is not None])
    if not thin:
        return None
    return go.Scatter(
        x=[step for step, _ in thin],
        y=[float(f"{value:.5g}") for _, value in thin],
        mode="lines+markers" if len(thin) <= 40 else "lines",
        name=name,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 5},
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most 1,200 points: the means of stretches of equal length."""
    size = -(-len(points) // _MOST_POINTS)
    if size <= 1:
        return list(points)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
