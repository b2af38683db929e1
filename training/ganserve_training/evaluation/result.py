"""Hold the result of an evaluation, as metrics.json has it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

UNEQUAL_COUNTS = 2.0
"""Ratio of real to generated samples, or the reverse, from which a note says that FID depends on the counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureReport:
    """The features that metrics compared."""

    name: str
    sha256: str | None
    resizer: str
    accuracy: float | None
    """Accuracy of the classifier on held-out real samples; None: the features come from another network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Figures of a model, and what they depend on."""

    step: int
    """Training step of the checkpoint."""
    checkpoint_sha256: str
    samples: int
    """Number of samples drawn, with balanced labels."""
    seed: int
    """Seed of their latents."""
    data: str
    """Source of the real samples."""
    real_samples: int
    """Number of training samples that they were compared with."""
    held_out_samples: int
    """Number of held-out samples that the judge and the distance ratio used."""
    reference_sha256: str
    """Digest of the training samples."""
    features: FeatureReport | None
    """None: no metric compared features."""
    label_names: tuple[str, ...]
    """Labels of `by_label`."""
    metrics: dict[str, float]
    """Figures by name, such as fid, precision, gan_test."""
    by_label: dict[str, tuple[float, ...]]
    """Figures of each label by name: gan_test and gan_train."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences about what to know before comparing the figures."""
        fewer, more = sorted((self.samples, self.real_samples))
        if "fid" not in self.metrics or more < UNEQUAL_COUNTS * fewer:
            return ()
        return (
            f"FID compares {self.samples:,} generated samples with {self.real_samples:,} real ones, and the smaller "
            "count biases it upwards. Compare it only with FIDs of the same counts, or measure again with --samples "
            f"{self.real_samples}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the content of metrics.json. A figure that is not a number becomes null."""
        by_label = {
            name: [None if np.isnan(value) else value for value in each] for name, each in self.by_label.items()
        }
        return {**asdict(self), "label_names": list(self.label_names), "notes": list(self.notes), "by_label": by_label}
