"""What can be asked of an evaluation. Without torch, so that `ganserve evaluate --help` needs none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ganserve_training.errors import ConfigError

MetricName = Literal[
    "fid",
    "kid",
    "precision-recall",
    "density-coverage",
    "inception-score",
    "sliced-wasserstein",
    "gan-train-test",
    "nn-distance",
    "mode-coverage",
]
FeatureRange = Literal["0..1", "-1..1", "0..255", "imagenet"]

EVALUATION_SEED = 20_000_003  # Far from the small seeds that people train and sample with.


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationOptions:
    """What to measure, and how."""

    data: str | None = None
    """The real data: a source such as digits, or the path of a file or folder. Without it, what the model learned
    from."""
    metrics: tuple[MetricName, ...] = ()
    """Which figures. Without it, those that suit the data."""
    features: str = "auto"
    """What fid, kid, precision-recall and density-coverage compare. pixels: the values themselves. classifier: the last
    layer of a small network trained on the real data's labels. A .pt file: a TorchScript network. A .onnx file: an ONNX
    network. auto: classifier where there are labels, else pixels."""
    feature_side_px: int | None = None
    """Height and width of the images that a TorchScript network takes. Without it, those of the data; ONNX: of
    the file."""
    feature_range: FeatureRange = "0..1"
    """What black and white are to a network from a file; imagenet: normalised by ImageNet's mean and deviation."""
    samples: int | None = field(default=None, metadata={"aliases": ("--count", "-n")})
    """How many to draw, with balanced labels. Without it, 2,500 for ring and grid, 26,000 for stacked digits (the
    published protocols), else as many as there are training samples, but at least 1,500 and at most 10,000."""
    seed: int = EVALUATION_SEED
    """Of latents, directions and subsets."""

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise ConfigError(f"samples must be at least 1 (got {self.samples})")
        if self.feature_side_px is not None and self.feature_side_px < 1:
            raise ConfigError(f"feature_side_px must be at least 1 (got {self.feature_side_px})")
