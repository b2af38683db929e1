"""Kernel distance. N, M = samples, F = features."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

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
    """KID: the unbiased squared maximum mean discrepancy with the kernel (x.y / F + 1)^3 (Binkowski et al. 2018).

    Computed by torchmetrics.

    Args:
        generated: Features [N, F].
        real: Features [M, F].
        subsets: How many random subsets to average over; one where the whole sets are used.
        subset_size: Samples of each; at most as many as there are.
        seed: Of the subsets.

    Returns:
        Mean and standard deviation over the subsets. May be slightly negative: the estimate is unbiased.
    """
    size = min(subset_size, len(generated), len(real))
    whole = size == len(generated) == len(real)
    with warnings.catch_warnings():
        # That it keeps all features in memory: so do we.
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save", UserWarning)
        from torchmetrics.image.kid import KernelInceptionDistance

        metric = KernelInceptionDistance(nn.Identity(), subsets=1 if whole else subsets, subset_size=size)
    metric.update(torch.from_numpy(np.asarray(real, np.float64)), real=True)
    metric.update(torch.from_numpy(np.asarray(generated, np.float64)), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, spread = metric.compute()
    return float(mean), float(spread)
