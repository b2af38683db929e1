"""Frechet distance of features. N, M = samples, F = features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganserve_training.errors import DataError


def frechet_distance(generated: NDArray[Any], real: NDArray[Any]) -> float:
    """FID: |m - m'|^2 + Tr(S + S' - 2 (S S')^(1/2)) of the means and covariances (Heusel et al. 2017).

    Computed by torchmetrics in double precision; the features are given, so that any network can make them.

    Args:
        generated: Features [N, F], N at least 2.
        real: Features [M, F], M at least 2.

    Raises:
        DataError: A set has fewer than 2 samples.
    """
    if min(len(generated), len(real)) < 2:
        raise DataError(f"fid needs at least 2 samples (got {len(generated)} generated and {len(real)} real)")
    from torchmetrics.image.fid import FrechetInceptionDistance

    identity = nn.Identity()
    identity.num_features = generated.shape[1]  # Or torchmetrics would ask it with an image.
    metric = FrechetInceptionDistance(identity)
    metric.update(torch.from_numpy(np.asarray(real, np.float64)), real=True)
    metric.update(torch.from_numpy(np.asarray(generated, np.float64)), real=False)
    return float(metric.compute())
