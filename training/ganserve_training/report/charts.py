"""The curves of a report, with the findings marked where they were told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from ganserve_training.diagnosis import Finding, Observation
from ganserve_training.diagnosis.rules import best_observation
from ganserve_training.report.material import RunMaterial

# Okabe & Ito's palette, which people with colour-blindness can tell apart.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GRAY = (
    *("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#6b7280"),
)
KIND_COLOURS = {
    "vanishing-gradients": PURPLE,
    "no-progress": GRAY,
    "mode-collapse": RED,
    "oscillation": ORANGE,
    "critic-overfitting": BLUE,
    "divergence": "#b00020",
    "convergence": GREEN,
    "decline": "#8a5a00",
}
_MOST_POINTS = 1200
_HEIGHT_PX = 300


def charts(run: RunMaterial) -> list[tuple[str, str, Any]]:
    """Title, what to look for, and figure, of each chart that the run has numbers for."""
    made: list[tuple[str, str, Any]] = []
    seen = run.observations
    if run.log:
        made.append(
            (
                "Losses",
                "What each player minimises, without penalties. Levels mean little; swings and runaways do.",
                _figure(
                    run,
                    [_logged(run, "critic_loss", "critic", BLUE), _logged(run, "generator_loss", "generator", ORANGE)],
                ),
            )
        )
    if seen:
        lines = [
            _observed(seen, "real_accuracy", "training samples", BLUE),
            _observed(seen, "held_out_accuracy", "held-out samples", SKY, dash="dot"),
            _observed(seen, "fake_accuracy", "generated samples", ORANGE),
        ]
        made.append(
            (
                "Critic accuracy",
                "How often the critic is right. All near one half: it can't tell any more. Held-out far below "
                "training: it has learned its samples by heart.",
                _figure(run, lines, percent=True, level=0.5),
            )
        )
        made.append(
            (
                "Diversity",
                "Generated samples' mean distance from each other relative to that of real ones, and the share of the "
                "data's regions that they reach.",
                _figure(
                    run, [_observed(seen, "diversity", "diversity", GREEN), _reached(seen)], percent=True, level=1.0
                ),
            )
        )
        scores = [
            _observed(seen, "real_score", "training samples", BLUE),
            _observed(seen, "held_out_score", "held-out samples", SKY, dash="dot"),
            _observed(seen, "fake_score", "generated samples", ORANGE),
        ]
        made.append(
            (
                "Scores",
                "The critic's mean score of each kind. Running apart without end: divergence.",
                _figure(run, scores),
            )
        )
        gradients = [
            _observed(seen, "sample_gradient_norm", "at a generated sample", PURPLE),
            _observed(seen, "generator_gradient_norm", "at the generator's weights", ORANGE),
        ]
        made.append(
            (
                "Gradients",
                "Norm of the gradient that the critic gives the generator. Orders of magnitude lost: no learning.",
                _figure(run, gradients, logarithmic=True),
            )
        )
        measured = [item for item in seen if item.quality is not None]
        if measured:
            better = "higher" if measured[-1].higher_is_better else "lower"
            made.append(
                (
                    f"Quality: {str(measured[-1].quality_name).replace('_', ' ')}",
                    f"Of the averaged generator's samples; {better} is better. The star is the best.",
                    _figure(run, [_observed(measured, "quality", "quality", BLUE), _best(measured)]),
                )
            )
    elif run.log:
        lines = [_logged(run, "critic_accuracy", "critic", BLUE)]
        made.append(("Critic accuracy", "How often the critic is right.", _figure(run, lines, percent=True, level=0.5)))
    return made


def _figure(
    run: RunMaterial, lines: list[Any], *, percent: bool = False, logarithmic: bool = False, level: float | None = None
) -> Any:
    figure = go.Figure([line for line in lines if line is not None])
    figure.update_layout(
        height=_HEIGHT_PX,
        autosize=True,
        margin={"l": 48, "r": 12, "t": 28, "b": 36},
        template="plotly_white",
        hovermode="x unified",
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "xanchor": "left"},
        xaxis={"title": {"text": "step", "standoff": 4}, "range": [0, run.step or 1], "fixedrange": False},
        yaxis={"type": "log" if logarithmic else "linear", "tickformat": "~g", "nticks": 7},
    )
    if percent:
        figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    if level is not None:
        figure.add_hline(y=level, line={"color": "#c4c9d1", "width": 1, "dash": "dash"})
    for number, finding in enumerate(run.findings, start=1):
        _mark(figure, number, finding)
    return figure


def _mark(figure: Any, number: int, finding: Finding) -> None:
    """A line at the finding's step, with its number in the page's list."""
    colour = KIND_COLOURS[finding.kind]
    figure.add_vline(
        x=finding.step,
        line={"color": colour, "width": 1.5, "dash": "dot"},
        annotation={
            "text": f"<b>{number}</b>",
            "font": {"color": "white", "size": 11},
            "bgcolor": colour,
            "borderpad": 2,
            "hovertext": f"{finding.kind.replace('-', ' ')} at step {finding.step}",
            "y": 1.0,
            "yanchor": "top",
            "xanchor": "center",
            "showarrow": False,
        },
    )


def _logged(run: RunMaterial, field: str, name: str, colour: str) -> Any:
    points = [(record["step"], record[field]) for record in run.log if field in record]
    return _line(points, name, colour)


def _observed(seen: Sequence[Observation], field: str, name: str, colour: str, dash: str = "solid") -> Any:
    points = [(item.step, value) for item in seen if (value := getattr(item, field)) is not None]
    return _line(points, name, colour, dash) if points else None


def _reached(seen: Sequence[Observation]) -> Any:
    kind = seen[-1].region_kind
    return _line([(item.step, item.regions_reached / item.regions) for item in seen], f"{kind} reached", BLUE, "dot")


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


def _line(points: Sequence[tuple[float, float]], name: str, colour: str, dash: str = "solid") -> Any:
    thin = _thinned(points)
    return go.Scatter(
        x=[step for step, _ in thin],
        y=[float(f"{value:.5g}") for _, value in thin],
        mode="lines+markers" if len(thin) <= 40 else "lines",
        name=name,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 5},
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 1,200 points: the mean of each stretch of equally many."""
    size = -(-len(points) // _MOST_POINTS)
    if size <= 1:
        return list(points)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
