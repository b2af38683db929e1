"""Options of an evaluation. No import of torch, so that `ganserve evaluate --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganserve_training.options.checks import expect

FeatureRange = Literal["0..1", "-1..1", "0..255", "imagenet"]

EVALUATION_SEED = 20_000_003  # far from the small seeds that people train and sample with


def built_in_metrics() -> tuple[str, ...]:
    """Return the names of the metrics in the folder `metrics`: its files' names, with "-" for "_"."""
    files = Path(__file__).with_name("metrics").glob("[a-z]*.py")
    return tuple(sorted(file.stem.replace("_", "-") for file in files))


if TYPE_CHECKING:
    MetricName = str  # Python code may name its own metrics, too
else:
    MetricName = Literal[built_in_metrics()]  # choices of the command line


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationOptions:
    """Choices of an evaluation."""

    data: str | None = None
    """The real data: a source such as digits, or a path. Default: the data that the model learned from."""
    metrics: tuple[MetricName, ...] = ()
    """Metrics to measure. Default: those that suit the data."""
    features: str = "auto"
    """Features that fid, kid, precision-recall and density-coverage compare. pixels: the values themselves. classifier:
    the last layer of a small network trained on the real data's labels. A .pt file: a TorchScript network. A .onnx
    file: an ONNX network. auto: classifier if the data are labelled images, else pixels."""
    feature_side_px: int | None = None
    """Height and width of a TorchScript network's images. Default: those of the data; for ONNX, of the file."""
    feature_range: FeatureRange = "0..1"
    """Values of black and white for a network from a file; imagenet: normalised by ImageNet's mean and deviation."""
    samples: int | None = field(default=None, metadata={"aliases": ("--count", "-n")})
    """Number of samples to draw, with balanced labels. Default: 2,500 for ring and grid, 26,000 for stacked-digits and
    stacked-mnist (the published protocols), else the number of training samples, from 1,500 to 10,000."""
    seed: int = EVALUATION_SEED
    """Seed of latents, directions and subsets."""

    def __post_init__(self) -> None:
        for name in ("samples", "feature_side_px"):
            value = getattr(self, name)
            expect(value is None or value >= 1, name, value, "at least 1")
