"""Define what a metric is, and find all metrics. N = samples, H, W, C = image, D = vector.

Each file of `metrics/` has the `METRIC` of its name; `register_metric` adds one from outside the package.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.flat_values import flat_values
from ganserve_training.data.samples import Samples
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation.features import Features
from ganserve_training.evaluation.judge import sample_rows
from ganserve_training.evaluation.modes import Modes
from ganserve_training.evaluation.options import built_in_metrics
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
    """Samples and real data that metrics compare."""

    samples: NDArray[Any]
    """Generated samples, uint8 [N, H, W, C] or float32 [N, D]."""
    labels: NDArray[np.int64] | None
    """Labels int64 [N] that were asked for; None: the generator does not take the data's labels."""
    train: Samples
    """Real samples that the generator learned from; the reference."""
    held_out: Samples
    """Real samples that it never saw."""
    features: Features | None
    """Features for the metrics that compare features."""
    modes: Modes | None
    """Modes of the data, if they are known."""
    seed: int
    """Seed of random directions and subsets."""

    @cached_property
    def generated_features(self) -> NDArray[Any]:
        """Return the features of the generated samples, float [N, F]."""
        assert self.features is not None
        return self.features.extract(self.samples)

    @cached_property
    def real_features(self) -> NDArray[Any]:
        """Return the features of the training samples, float [M, F]."""
        assert self.features is not None
        return self.features.extract(self.train.read(np.arange(len(self.train))))

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """Return the generated samples as rows, float64 [N, D]."""
        return flat_values(self.samples, self.train.info)

    @cached_property
    def real_values(self) -> NDArray[np.float64]:
        """Return the training samples as rows, float64 [M, D]."""
        return sample_rows(self.train)


@dataclass(frozen=True, slots=True)
class Figure:
    """Row of a table for one figure of a metric."""

    title: str
    good: str
    """Good values, such as "lower" or "1"."""
    meaning: str
    """Meaning of the figure in a few words."""
    form: str = ".3f"
    """Format specification of the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A metric of `ganserve evaluate`."""

    name: str
    """Name for --metrics, such as precision-recall."""
    measure: Callable[[Material], Mapping[str, float | tuple[float, ...]]]
    """Returns figures by name. A tuple has one value per label of the data; its name ends in _by_label."""
    figures: Mapping[str, Figure]
    """The figures that tables show, by name."""
    compares_features: bool = False
    """True if it needs `Material.features`."""
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


def measure(
    metrics: Sequence[Metric], material: Material, steps: Steps
) -> tuple[dict[str, float], dict[str, tuple[float, ...]]]:
    """Measure metrics one after the other, each as a step; raise DataError if there are too few samples for one.

    Return figures by name, such as fid, and those with one value per label, in the order of the data's names.
    """
    found: dict[str, float | tuple[float, ...]] = {}
    for metric in metrics:
        steps.next(f"measuring {metric.name}")
        if not set(metric.figures) <= set(found):  # else another metric gave these figures, too
            found |= metric.measure(material)
    figures = {name: float(value) for name, value in found.items() if not isinstance(value, tuple)}
    by_label = {name.removesuffix("_by_label"): value for name, value in found.items() if isinstance(value, tuple)}
    return figures, by_label
