"""Kernel distance of features (KID). N, M = samples, F = features."""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganserve_training.errors import DataError
from ganserve_training.evaluation.matplotlib_cache import use_temporary_cache
from ganserve_training.evaluation.metric import Figure, Material, Metric

SUBSETS = 100
SUBSET_SIZE = 1000


def kernel_distance(
    generated: NDArray[Any],
    real: NDArray[Any],
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the unbiased squared maximum mean discrepancy with the kernel (x.y / F + 1)^3 (Binkowski et al. 2018).

    torchmetrics computes it from features [N, F] and [M, F], on random subsets of up to `subset_size` samples, or once
    if that is everything. The result is the mean, which may be slightly negative, and the standard deviation over the
    subsets: 0 for a single one. Raise DataError if N or M is below 2.
    """
    size = min(subset_size, len(generated), len(real))
    if size < 2:
        raise DataError(f"kid needs at least 2 samples (got {len(generated)} generated and {len(real)} real)")
    whole = size == len(generated) == len(real)
    with warnings.catch_warnings():
        # It warns that it keeps all features in memory; so do we.
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save", UserWarning)
        use_temporary_cache()
        from torchmetrics.image.kid import KernelInceptionDistance

        metric = KernelInceptionDistance(nn.Identity(), subsets=1 if whole else subsets, subset_size=size)
    metric.update(torch.from_numpy(np.asarray(real, np.float64)), real=True)
    metric.update(torch.from_numpy(np.asarray(generated, np.float64)), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, spread = metric.compute()
    return float(mean), float(spread)


def _measure(material: Material) -> dict[str, float]:
    mean, spread = kernel_distance(material.generated_features, material.real_features, seed=material.seed)
    return {"kid": mean, "kid_std": spread}


METRIC = Metric(
    name="kid",
    measure=_measure,
    figures={"kid": Figure("KID", "kernel distance of the features, unbiased", "squared-distance", ".2e")},
    compares_features=True,
    by_default=lambda traits: traits.is_image and not traits.has_modes,
    position=2,
)
