"""The metrics by name: which suit which data, and how they are measured. N = samples, H, W, C = image, D = vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.rows import flat_values
from ganserve_training.data.samples import Samples
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation.features import Features
from ganserve_training.evaluation.judge import Judgement, judge_probabilities, judge_samples, nearest_distance_ratio
from ganserve_training.evaluation.metrics import (
    Modes,
    density_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    mode_coverage,
    mode_divergence,
    precision_recall,
    sliced_wasserstein,
)
from ganserve_training.evaluation.options import MetricName
from ganserve_training.run.progress_bar import Steps

METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)
FEATURE_METRICS: frozenset[MetricName] = frozenset({"fid", "kid", "precision-recall", "density-coverage"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was found."""

    metrics: dict[str, float]
    """Flat, by names such as fid, precision and recall."""
    by_label: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """One value a label, in the order of the data's names: gan_test and gan_train."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What all metrics are computed from."""

    samples: NDArray[Any]
    """Generated: uint8 [N, H, W, C] or float32 [N, D]."""
    labels: NDArray[np.int64] | None
    """The data's labels that were asked for, int64 [N]; None: the generator takes none, or others."""
    train: Samples
    """Real samples that the generator learned from; the reference."""
    held_out: Samples
    """Real samples that it never saw."""
    features: Features | None
    """For the metrics that compare features."""
    modes: Modes | None
    """Where the data's modes are known."""
    seed: int
    """Of directions and subsets."""

    @cached_property
    def generated_features(self) -> NDArray[Any]:
        """Float [N, F]."""
        return self._features(self.samples)

    @cached_property
    def real_features(self) -> NDArray[Any]:
        """Float [M, F]."""
        return self._features(_all(self.train))

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """float64 [N, D]."""
        return flat_values(self.samples, self.train.info)

    @cached_property
    def real_values(self) -> NDArray[np.float64]:
        """float64 [M, D]."""
        return flat_values(_all(self.train), self.train.info)

    def _features(self, samples: NDArray[Any]) -> NDArray[Any]:
        assert self.features is not None
        return self.features.extract(samples)


def default_metrics(data: Samples, modes: Modes | None, *, conditional: bool) -> tuple[MetricName, ...]:
    """What says most about data of this kind.

    Args:
        data: The real samples.
        modes: Where they are known.
        conditional: The generator takes the data's labels.
    """
    if modes is not None:
        return ("mode-coverage", "sliced-wasserstein")
    suits = {
        "fid": data.info.is_image,
        "kid": data.info.is_image,
        "inception-score": data.labels is not None,
        "gan-train-test": conditional and data.labels is not None,
        "mode-coverage": False,
    }
    return tuple(name for name in METRIC_NAMES if suits.get(name, True))


def check_metrics(names: Sequence[MetricName], data: Samples, modes: Modes | None, *, conditional: bool) -> None:
    """Refuse metrics that the data or the model have no use for.

    Raises:
        ConfigError: One of them.
    """
    if "mode-coverage" in names and modes is None:
        raise ConfigError("mode-coverage needs data whose modes are known: ring, grid or stacked-digits")
    if "inception-score" in names and data.labels is None:
        raise ConfigError("inception-score needs labelled data, for its judge: leave it out")
    if "gan-train-test" in names and not (conditional and data.labels is not None):
        raise ConfigError("gan-train-test needs labelled data and a generator that takes their labels: leave it out")


def measure(names: Sequence[MetricName], material: Material, steps: Steps) -> Measured:
    """Measure by name, in the order of METRIC_NAMES, each as a step.

    Raises:
        DataError: Too few samples for one of them.
    """
    metrics: dict[str, float] = {}
    by_label: dict[str, tuple[float, ...]] = {}
    for name in METRIC_NAMES:
        if name in names:
            steps.next(f"measuring {name}")
        if name == "gan-train-test" and name in names:
            judgement = _judge(material)
            metrics |= judgement.to_dict()
            by_label = {"gan_test": judgement.gan_test_by_label, "gan_train": judgement.gan_train_by_label}
        elif name in names and not (name == "nn-distance" and "nn_distance_ratio" in metrics):
            metrics |= _MEASURES[name](material)
    return Measured(metrics=metrics, by_label=by_label)


def _judge(material: Material) -> Judgement:
    assert material.labels is not None
    return judge_samples(material.samples, material.labels, material.train, material.held_out)


def _frechet(material: Material) -> dict[str, float]:
    return {"fid": frechet_distance(material.generated_features, material.real_features)}


def _kernel(material: Material) -> dict[str, float]:
    mean, spread = kernel_distance(material.generated_features, material.real_features, seed=material.seed)
    return {"kid": mean, "kid_std": spread}


def _precision_recall(material: Material) -> dict[str, float]:
    found = precision_recall(material.generated_features, material.real_features)
    return {"precision": found.precision, "recall": found.recall}


def _density_coverage(material: Material) -> dict[str, float]:
    found = density_coverage(material.generated_features, material.real_features)
    return {"density": found.density, "coverage": found.coverage}


def _inception(material: Material) -> dict[str, float]:
    probabilities, real = judge_probabilities(material.values, material.train, material.held_out)
    return {"inception_score": inception_score(probabilities), "inception_score_real": inception_score(real)}


def _sliced(material: Material) -> dict[str, float]:
    distance = sliced_wasserstein(material.values, material.real_values, seed=material.seed)
    return {"sliced_wasserstein": distance}


def _nearest(material: Material) -> dict[str, float]:
    held_out = flat_values(_all(material.held_out), material.held_out.info)
    return {"nn_distance_ratio": nearest_distance_ratio(material.values, material.real_values, held_out)}


def _modes(material: Material) -> dict[str, float]:
    assert material.modes is not None
    found = mode_coverage(material.samples, material.modes)
    return {
        "modes": float(found.modes),
        "high_quality": found.high_quality,
        "reverse_kl": found.reverse_kl,
        "mode_divergence": mode_divergence(material.samples, material.modes),
    }


def _all(samples: Samples) -> NDArray[Any]:
    return samples.read(np.arange(len(samples)))


_MEASURES: dict[MetricName, Callable[[Material], dict[str, float]]] = {
    "fid": _frechet,
    "kid": _kernel,
    "precision-recall": _precision_recall,
    "density-coverage": _density_coverage,
    "inception-score": _inception,
    "sliced-wasserstein": _sliced,
    "nn-distance": _nearest,
    "mode-coverage": _modes,
}
