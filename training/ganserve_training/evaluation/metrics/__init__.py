"""Compute metrics of generated samples: one file per metric, each with a function on arrays and its `METRIC`.

docs/evaluation.md has the formulas and papers.
"""

from ganserve_training.evaluation.metrics.density_coverage import DensityCoverage, density_coverage
from ganserve_training.evaluation.metrics.fid import frechet_distance
from ganserve_training.evaluation.metrics.inception_score import inception_score
from ganserve_training.evaluation.metrics.kid import kernel_distance
from ganserve_training.evaluation.metrics.mode_coverage import ModeCoverage, mode_coverage, mode_divergence
from ganserve_training.evaluation.metrics.precision_recall import PrecisionRecall, precision_recall
from ganserve_training.evaluation.metrics.sliced_wasserstein import sliced_wasserstein

__all__ = [
    "DensityCoverage",
    "ModeCoverage",
    "PrecisionRecall",
    "density_coverage",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "mode_coverage",
    "mode_divergence",
    "precision_recall",
    "sliced_wasserstein",
]
