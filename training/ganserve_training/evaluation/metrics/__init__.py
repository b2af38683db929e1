"""Measures of how good generated samples are: functions on arrays. docs/evaluation.md has the formulas and papers."""

from __future__ import annotations

from ganserve_training.evaluation.metrics.coverage import (
    GaussianModes,
    ModeCoverage,
    Modes,
    mode_coverage,
    mode_divergence,
)
from ganserve_training.evaluation.metrics.frechet import frechet_distance
from ganserve_training.evaluation.metrics.inception import inception_score
from ganserve_training.evaluation.metrics.kernel import kernel_distance
from ganserve_training.evaluation.metrics.manifold import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    precision_recall,
)
from ganserve_training.evaluation.metrics.quality import Quality, QualityChoice, QualityMeter, quick_quality
from ganserve_training.evaluation.metrics.sliced import sliced_wasserstein

__all__ = [
    "DensityCoverage",
    "GaussianModes",
    "ModeCoverage",
    "Modes",
    "PrecisionRecall",
    "Quality",
    "QualityChoice",
    "QualityMeter",
    "density_coverage",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "mode_coverage",
    "mode_divergence",
    "precision_recall",
    "quick_quality",
    "sliced_wasserstein",
]
