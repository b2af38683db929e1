"""Measure held-out real samples in place of generated ones: the values that a model's figures are judged by.

N = held-out samples that take the place of as many generated ones.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.errors import DataError
from ganserve_training.evaluation.metric import Beside, Material, Metric
from ganserve_training.evaluation.reference import Reference

FEWEST = 20
"""Fewest held-out samples to judge by; the figures of fewer are accidents."""
_SEED = 20_000_017


class RealSamples:
    """Real samples in place of generated ones. Made once for all models of the same data, it measures each metric once.

    Many figures depend on the number of samples, such as FID and recall. So a model's samples are measured again, as
    many as there are held-out ones, and with their labels.
    """

    def __init__(self, reference: Reference, count: int, seed: int) -> None:
        """Take at most `count` held-out samples; `seed` is that of metrics with random directions or subsets."""
        held_out = reference.held_out
        self._reference, self._seed = reference, seed
        self.count = min(count, len(held_out))
        """N."""
        chosen = np.random.default_rng(_SEED).permutation(len(held_out))[: self.count]
        self._samples = held_out.take(np.sort(chosen))
        self.labels = self._samples.labels
        """Labels of these samples, int64 [N]; None: the data have no labels."""
        self._real: dict[str, dict[str, float]] = {}
        self._worst: dict[str, dict[str, float]] = {}

    @property
    def are_enough(self) -> bool:
        """Say whether there are enough to judge by."""
        return self.count >= FEWEST

    def beside(self, metric: Metric, alike: Material) -> dict[str, Beside]:
        """Return the figures of a model's N samples, drawn with the same labels, beside those of the real ones."""
        model = _numbers(metric, alike)
        real = self._measured(self._real, metric, self._material)
        compares_distance = any(figure.scale in ("distance", "squared-distance") for figure in metric.figures.values())
        worst: dict[str, float] = {}
        if compares_distance:
            worst = self._measured(
                self._worst, metric, self._one_feature if metric.compares_features else self._one_value
            )
        return {
            name: Beside(model[name], real[name], worst.get(name, 0.0) if figure.scale != "share" else 0.0)
            for name, figure in metric.figures.items()
            if name in model and name in real and figure.scale is not None
        }

    def _measured(self, known: dict[str, dict[str, float]], metric: Metric, material: Material) -> dict[str, float]:
        if metric.name not in known:
            known[metric.name] = _numbers(metric, material)
        return known[metric.name]

    @cached_property
    def _material(self) -> Material:
        samples = self._samples.read(np.arange(self.count))
        return Material(samples=samples, labels=self.labels, reference=self._reference, seed=self._seed)

    @cached_property
    def _one_feature(self) -> Material:
        return self._only(self._reference.real_features)

    @cached_property
    def _one_value(self) -> Material:
        return self._only(self._reference.real_values)

    def _only(self, rows: NDArray[Any]) -> Material:
        """Return N times the training sample whose row, of [M, D], is nearest to their mean: the worst generator."""
        nearest = int(np.square(rows - rows.mean(axis=0)).sum(axis=1).argmin())
        samples = self._reference.train.read(np.array([nearest])).repeat(self.count, axis=0)
        return Material(samples=samples, labels=self.labels, reference=self._reference, seed=self._seed)


def _numbers(metric: Metric, material: Material) -> dict[str, float]:
    if not len(material.samples):
        return {}
    try:
        measured = metric.measure(material)
    except DataError:  # too few samples: the figure is not judged
        return {}
    return {name: float(value) for name, value in measured.items() if not isinstance(value, tuple)}
