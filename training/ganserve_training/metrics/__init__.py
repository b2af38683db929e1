"""Measures of how good generated samples are: pure functions on arrays. docs/evaluation.md has formulas and papers."""

from ganserve_training.metrics.coverage import GaussianModes, ModeCoverage, Modes, mode_coverage, mode_divergence
from ganserve_training.metrics.quality import Quality, QualityChoice, QualityMeter, quick_quality
from ganserve_training.metrics.sliced import sliced_wasserstein

__all__ = [
    "GaussianModes",
    "ModeCoverage",
    "Modes",
    "Quality",
    "QualityChoice",
    "QualityMeter",
    "mode_coverage",
    "mode_divergence",
    "quick_quality",
    "sliced_wasserstein",
]
