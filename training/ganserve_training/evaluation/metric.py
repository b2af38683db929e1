"""Define what a metric is, and find all metrics. N = samples, H, W, C = image, D = vector.

Each file of `metrics/` has the `METRIC` of its name; `register_metric` adds one from outside the package.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.flat_values import flat_values
from ganserve_training.data.samples import Samples
from ganserve_training.errors import ConfigError, DataError
from ganserve_training.evaluation.modes import Modes
from ganserve_training.evaluation.options import built_in_metrics
from ganserve_training.evaluation.reference import Reference
from ganserve_training.run.command_progress import Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class DataTraits:
    """Properties of the data and the generator that a metric may need."""

    is_image: bool
    has_labels: bool
    has_modes: bool
    """True if the modes of the data's distribution are known."""
    takes_labels: bool
    """True if the generator takes the data's labels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Samples, generated or others in their place, and the real data that metrics compare them with."""

    samples: NDArray[Any]
    """Samples to measure, uint8 [N, H, W, C] or float32 [N, D]."""
    labels: NDArray[np.int64] | None
    """Their labels int64 [N] that were asked for; None: the generator does not take the data's labels."""
    reference: Reference
    """The real data."""
    seed: int
    """Seed of random directions and subsets."""

    @property
    def train(self) -> Samples:
        """Return the real samples that the generator learned from."""
        return self.reference.train

    @property
    def held_out(self) -> Samples:
        """Return real samples that it never saw."""
        return self.reference.held_out

    @property
    def modes(self) -> Modes | None:
        """Return the modes of the data, if they are known."""
        return self.reference.modes

    @property
    def real_features(self) -> NDArray[Any]:
        """Return the features of the training samples, float [M, F]."""
        return self.reference.real_features

    @property
    def real_values(self) -> NDArray[np.float64]:
        """Return the training samples as rows, float64 [M, D]."""
        return self.reference.real_values

    @cached_property
    def generated_features(self) -> NDArray[Any]:
        """Return the features of the samples to measure, float [N, F]."""
        assert self.reference.features is not None
        return self.reference.features.extract(self.samples)

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """Return the samples to measure as rows, float64 [N, D]."""
        return flat_values(self.samples, self.train.info)


Scale = Literal["share", "distance", "squared-distance", "ratio"]
"""Kind of a figure's scale. share: more is better, and the worst value is known. distance: less is better, and
the worst value is that of one real sample over and over; squared-distance: the same for figures that grow with the
square of an error. ratio: 1 is best, and half is as bad as twice."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Row of a table for one figure of a metric."""

    title: str
    meaning: str
    """Meaning of the figure in a few words."""
    scale: Scale | None = None
    """Scale by which the figure is judged; None: it is not judged."""
    form: str = ".3f"
    """Format specification of the value."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A figure of a model beside that of real samples, measured in the same way."""

    model: float
    real: float
    worst: float = 0.0
    """Value of samples that have nothing in common with real ones; unused by ratios."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A metric of `ganserve evaluate`."""

    name: str
    """Name for --metrics, such as precision-recall."""
    measure: Callable[[Material], Mapping[str, float | tuple[float, ...]]]
    """Returns figures by name. A tuple has one value per label of the data; its name ends in _by_label. Raises
    DataError if there are too few samples."""
    figures: Mapping[str, Figure]
    """The figures that tables show, by name."""
    beside_real: Callable[[Material, Mapping[str, float]], Mapping[str, Beside]] | None = None
    """Takes what was measured, and its figures; returns them beside those of real samples. None: measure held-out
    samples in place of as many generated ones."""
    compares_features: bool = False
    """True if it needs features."""
    missing: Callable[[DataTraits], str] = lambda traits: ""  # noqa: ARG005
    """Says what the metric needs and these data do not have; empty: nothing."""
    by_default: Callable[[DataTraits], bool] = lambda traits: False  # noqa: ARG005
    """Says whether to measure it if the user names no metrics. Not called if something is missing."""
    position: int = 100
    """Place among the metrics of a table; metrics with the same place are sorted by name."""


_METRICS: dict[str, Metric] = {}  # those from outside the package


def register_metric(metric: Metric) -> None:
    """Add a metric, so that `EvaluationOptions(metrics=(name,))` measures it; ConfigError if its name is taken."""
    if metric.name in _METRICS or metric.name in built_in_metrics():
        raise ConfigError(f"metric {metric.name}: there is one with this name already. Choose another name")
    _METRICS[metric.name] = metric


def all_metrics() -> tuple[Metric, ...]:
    """Return all metrics in the order of tables."""
    modules = (name.replace("-", "_") for name in built_in_metrics())
    built_in = (import_module(f"ganserve_training.evaluation.metrics.{name}").METRIC for name in modules)
    return tuple(sorted([*built_in, *_METRICS.values()], key=lambda metric: (metric.position, metric.name)))


def choose_metrics(names: Sequence[str], traits: DataTraits) -> tuple[Metric, ...]:
    """Return the metrics of these names, or without names those that suit the data, in the order of tables.

    Raise ConfigError if a metric does not exist or does not suit the data.
    """
    metrics = all_metrics()
    if not names:
        return tuple(metric for metric in metrics if not metric.missing(traits) and metric.by_default(traits))
    known = {metric.name: metric for metric in metrics}
    for name in names:
        if name not in known:
            raise ConfigError(f"metrics {name}: no metric has this name. Choose from {', '.join(known)}")
        missing = known[name].missing(traits)
        if missing:
            raise ConfigError(f"metrics {name}: needs {missing}. Leave {name} out")
    return tuple(metric for metric in metrics if metric.name in names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Figures of some samples."""

    figures: dict[str, float]
    """Figures by name, such as fid."""
    by_label: dict[str, tuple[float, ...]]
    """Figures with one value for each label, in the order of the data's names; NaN where a label has no samples."""
    left_out: dict[str, str]
    """Metrics that could not be measured, and why."""


def measure(metrics: Sequence[Metric], material: Material, steps: Steps) -> Measured:
    """Measure metrics one after the other, each as a step, and leave out those that these samples do not allow."""
    found: dict[str, float | tuple[float, ...]] = {}
    left_out: dict[str, str] = {}
    if not len(material.samples):
        left_out = {metric.name: "no sample is finite" for metric in metrics}
        metrics = ()
    for metric in metrics:
        steps.next(f"measuring {metric.name}")
        if set(metric.figures) <= set(found):  # another metric gave these figures, too
            continue
        try:
            new = metric.measure(material)
        except DataError as error:
            left_out[metric.name] = str(error)
            continue
        endless = [name for name, value in new.items() if not isinstance(value, tuple) and not math.isfinite(value)]
        if endless:
            left_out[metric.name] = f"{', '.join(endless)} came out as no finite number"
        found |= {name: value for name, value in new.items() if name not in endless}
    return Measured(
        figures={name: float(value) for name, value in found.items() if not isinstance(value, tuple)},
        by_label={name.removesuffix("_by_label"): value for name, value in found.items() if isinstance(value, tuple)},
        left_out=left_out,
    )
