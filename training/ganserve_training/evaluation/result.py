"""Hold the result of an evaluation, as metrics.json has it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ganserve_training.evaluation.verdict import Comparison, Verdict

UNEQUAL_COUNTS = 2.0
"""Ratio of real to generated samples, or the reverse, from which a note says that FID depends on the counts."""

UNLIKE_PRECISION = 0.5
"""Precision of held-out real samples below which a note says that they are a mild measure."""


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
    """Figures by name, such as fid, precision, gan_test; all are finite."""
    by_label: dict[str, tuple[float, ...]]
    """Figures of each label by name: gan_test, gan_train and judge_accuracy; NaN where a label has no samples."""
    beside_real: dict[str, Comparison] = field(default_factory=dict)
    """Figures that are judged, by name."""
    beside_real_samples: int = 0
    """Number of generated samples and of held-out real ones that `beside_real` compares."""
    not_finite: int = 0
    """Number of samples that hold NaN or infinite values; the figures are those of the others."""
    verdict: Verdict | None = None
    """The verdict of the worst figure; None: none is judged."""
    summary: str = ""
    """One sentence that names the worst figure."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Metrics that could not be measured, and why."""
    training: str = ""
    """The last word of the run's monitor, such as "Ends healthy."; empty: there is none."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences about what to know before comparing the figures."""
        notes = []
        fewer, more = sorted((self.samples, self.real_samples))
        if "fid" in self.metrics and more >= UNEQUAL_COUNTS * fewer:
            notes.append(
                f"FID compares {self.samples:,} generated samples with {self.real_samples:,} real ones, and the "
                "smaller count biases it upwards. Compare it only with FIDs of the same counts, or measure again with "
                f"--samples {self.real_samples}"
            )
        precision = self.beside_real.get("precision")
        if precision is not None and precision.real < UNLIKE_PRECISION:
            notes.append(
                "held-out real samples are unlike the training samples themselves (precision "
                f"{precision.real:.2f}), so the verdicts are mild"
            )
        return tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of metrics.json: strict JSON. A label's figure that is not a number becomes null."""
        by_label = {
            name: [None if math.isnan(value) else value for value in each] for name, each in self.by_label.items()
        }
        return {**asdict(self), "label_names": list(self.label_names), "notes": list(self.notes), "by_label": by_label}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote, also in older versions of ganserve.

        Raises:
            TypeError, KeyError, AttributeError: It did not write these values.
        """
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        features = known["features"]
        by_label = {
            name: tuple(math.nan if value is None else value for value in each)
            for name, each in known["by_label"].items()
        }
        beside_real = {name: Comparison(**each) for name, each in known.get("beside_real", {}).items()}
        return cls(
            **{
                **known,
                "features": None if features is None else FeatureReport(**features),
                "label_names": tuple(known["label_names"]),
                "by_label": by_label,
                "beside_real": beside_real,
            }
        )
