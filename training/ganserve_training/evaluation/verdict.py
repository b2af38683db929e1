"""Judge figures by those of real samples: one rule for every metric and all data.

A figure's likeness is 0 for the worst samples and 1 for real ones. It is good from 0.85, fair from 0.6, else poor.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from ganserve_training.evaluation.metric import Beside, Material, Scale, all_metrics
from ganserve_training.evaluation.real_samples import FEWEST, RealSamples

Verdict = Literal["good", "fair", "poor"]

GOOD, FAIR = 0.85, 0.6
"""Likeness from which a figure is good or fair."""
_LEAST_REACH = 0.1
"""Smallest distance between real and worst, as a share of 1 or of the larger value, that tells good from bad."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A figure beside that of as many real samples."""

    model: float
    real: float
    worst: float
    likeness: float
    """0: as the worst samples; 1: as real ones, or better."""
    verdict: Verdict

    @classmethod
    def of(cls, beside: Beside, scale: Scale) -> Self | None:
        """Judge a figure; None: the values tell nothing, as those of a judge that only guesses."""
        found = likeness(beside, scale)
        return None if found is None else cls(**asdict(beside), likeness=found, verdict=verdict_of(found))


def verdict_of(likeness: float) -> Verdict:
    """Return the verdict on a figure of this likeness."""
    return "good" if likeness >= GOOD else "fair" if likeness >= FAIR else "poor"


def likeness(beside: Beside, scale: Scale) -> float | None:
    """Return how far a figure has come from the worst value, 0, to that of real samples, 1; None: it tells nothing.

    A squared distance counts by its root, so that twice the error is twice as far. A ratio of r counts as r or 1 / r,
    whichever is smaller.
    """
    model, real, worst = beside.model, beside.real, beside.worst
    if not all(map(math.isfinite, (model, real, worst))):
        return None
    if scale == "ratio":
        return min(model / real, real / model) if min(model, real) > 0.0 else 0.0
    reach = real - worst if scale == "share" else worst - real
    if reach < _LEAST_REACH * max(1.0 if scale == "share" else 0.0, worst) or reach == 0.0:
        return None
    part = min(max((model - worst) / (real - worst), 0.0), 1.0)
    return 1.0 - math.sqrt(1.0 - part) if scale == "squared-distance" else part


def compare(
    figures: Mapping[str, float], material: Material, draw_alike: Callable[[], Material], real: RealSamples
) -> dict[str, Comparison]:
    """Judge the measured figures of a model, by name.

    `figures` are those of `material`, all of the model's samples. `draw_alike` draws as many samples as `real` has,
    with their labels. There is nothing to judge by if `real` are too few.
    """
    found: dict[str, Comparison] = {}
    alike: Material | None = None
    for metric in all_metrics() if real.are_enough else ():
        if not set(metric.figures) <= set(figures):
            continue
        if metric.beside_real is not None:
            values = metric.beside_real(material, figures)
        elif any(figure.scale for figure in metric.figures.values()):
            alike = alike or draw_alike()
            values = real.beside(metric, alike)
        else:
            continue
        for name, value in values.items():
            scale = metric.figures[name].scale
            comparison = None if scale is None else Comparison.of(value, scale)
            if comparison is not None:
                found[name] = comparison
    return found


def sum_up(comparisons: Mapping[str, Comparison], not_finite: int, samples: int, real: int) -> dict[str, Any]:
    """Return the `verdict` of the worst figure, and a sentence that names it, the `summary`.

    Of the model's `samples`, `not_finite` hold NaN or infinite values. `real` is the number of held-out samples.
    """
    if not_finite:
        return {
            "verdict": "poor",
            "summary": f"Poor: {not_finite:,} of {samples:,} samples hold NaN or infinite values.",
        }
    if real < FEWEST:
        held_out = f"{real} real sample{' is' if real == 1 else 's are'} held out"
        return {"verdict": None, "summary": f"Not judged: {held_out}, and a verdict needs at least {FEWEST}."}
    if not comparisons:
        return {"verdict": None, "summary": "Not judged: no figure has a value of real samples to compare with."}
    figures = {name: figure for metric in all_metrics() for name, figure in metric.figures.items()}
    name, worst = min(comparisons.items(), key=lambda item: item[1].likeness)
    figure, count = figures[name], len(comparisons)
    values = f"{worst.model:{figure.form}}, where real samples have {worst.real:{figure.form}}"
    if worst.verdict == "good":
        return {"verdict": "good", "summary": f"Good: the lowest of {count} figures is {figure.title}, {values}."}
    good = sum(item.verdict == "good" for item in comparisons.values())
    others = f"; {good} of {count} figures {'is' if good == 1 else 'are'} good" if count > 1 else ""
    summary = f"{worst.verdict.capitalize()}: {figure.title} ({figure.meaning}) is {values}{others}."
    return {"verdict": worst.verdict, "summary": summary}
