"""Keep what models of the same data are measured by: real samples, features, and the figures of real samples."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ganserve_training.data import DataInfo
from ganserve_training.data.config import DataConfig
from ganserve_training.errors import ConfigError
from ganserve_training.evaluation.features import Features, classifier_features, plain_features, torchscript_features
from ganserve_training.evaluation.modes import Modes
from ganserve_training.evaluation.options import EvaluationOptions, FeatureRange
from ganserve_training.evaluation.real_samples import RealSamples
from ganserve_training.evaluation.reference import Reference, load_reference
from ganserve_training.evaluation.result import FeatureReport

FEWEST_SAMPLES, MOST_SAMPLES = 1500, 10_000

FeatureLoader = Callable[[Path, DataInfo, int | None, FeatureRange], Features]
"""Makes features from a file: takes its path, what the samples look like, side in pixels, range of values."""


class Yardsticks:
    """The yardsticks of one command, one for each data set; it reads data and makes features only once."""

    def __init__(self, options: EvaluationOptions, load_features: FeatureLoader | None = None) -> None:
        self._options, self._load_features = options, load_features
        self._made: dict[tuple[DataConfig, tuple[int, ...], bool], Yardstick] = {}

    def of(self, config: DataConfig, sample_shape: tuple[int, ...], *, needs_labels: bool = True) -> "Yardstick":
        """Return the yardstick of these data; arguments and errors are those of `load_reference`."""
        key = (config, sample_shape, needs_labels)
        if key not in self._made:
            reference = load_reference(config, sample_shape, needs_labels=needs_labels)
            self._made[key] = Yardstick(reference, self._options, self._load_features)
        return self._made[key]


class Yardstick:
    """The real data that models are measured by."""

    def __init__(self, reference: Reference, options: EvaluationOptions, load_features: FeatureLoader | None) -> None:
        self.reference = reference
        """Real samples, with features after `make_features`."""
        self.report: FeatureReport | None = None
        """The features; None: they are not made."""
        self.count = options.samples or default_samples(reference.modes, len(reference.train))
        """Number of samples to draw from a model."""
        self._options, self._load_features = options, load_features

    def make_features(self) -> None:
        """Make the features that the options ask for, if that was not done; raise ConfigError if they do not suit."""
        if self.report is None:
            features, accuracy = _features(self._options, self.reference, self._load_features)
            self.reference = replace(self.reference, features=features)
            self.report = FeatureReport(
                name=features.name, sha256=features.sha256, resizer=features.resizer, accuracy=accuracy
            )

    @cached_property
    def real(self) -> RealSamples:
        """Return real samples in place of generated ones. Make the features first."""
        return RealSamples(self.reference, self.count, self._options.seed)


def default_samples(modes: Modes | None, real: int) -> int:
    """Return how many samples to draw: as the published protocols do, else about as many as there are real ones."""
    if modes is not None:
        return 26_000 if modes.count == 1000 else 2500
    return min(max(real, FEWEST_SAMPLES), MOST_SAMPLES)


def _features(
    options: EvaluationOptions, reference: Reference, load: FeatureLoader | None
) -> tuple[Features, float | None]:
    """Return the features that `options` ask for, and the classifier's accuracy."""
    info, choice = reference.train.info, options.features
    if choice == "auto":
        labels = reference.train.labels if info.is_image else None
        choice = "classifier" if labels is not None and len(np.unique(labels)) > 1 else "pixels"
    if choice in ("pixels", "values"):
        return plain_features(info), None
    if choice == "classifier":
        return classifier_features(reference.train, reference.held_out)
    file = Path(choice)
    if not file.is_file():
        missing = f": there is no file {file.resolve()}" if file.suffix or len(file.parts) > 1 else ""
        raise ConfigError(
            "features must be auto, pixels, classifier, or the path of a TorchScript file (.pt) or an ONNX file (got "
            f"{choice}{missing})"
        )
    if file.suffix in (".pt", ".pth", ".jit"):
        return torchscript_features(file, info, side_px=options.feature_side_px, values=options.feature_range), None
    if load is None:
        raise ConfigError(f"features {file}: this kind of file cannot be read here. Use a TorchScript file, named .pt")
    return load(file, info, options.feature_side_px, options.feature_range), None
