"""Frechet distance of features (FID). N, M = samples, F = features."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganserve_training.errors import DataError
from ganserve_training.evaluation.matplotlib_cache import use_temporary_cache
from ganserve_training.evaluation.metric import Figure, Metric

_LARGEST = 1e70  # the product of two covariances of larger features is infinite


def frechet_distance(generated: NDArray[Any], real: NDArray[Any]) -> float:
    """Return |m - m'|^2 + Tr(S + S' - 2 (S S')^(1/2)) of the means and covariances (Heusel et al. 2017).

    torchmetrics computes it in double precision from features [N, F] and [M, F] of any network. Raise DataError if N or
    M is below 2, or a feature is beyond 1e70.
    """
    if min(len(generated), len(real)) < 2:
        raise DataError(f"fid needs at least 2 samples (got {len(generated)} generated and {len(real)} real)")
    use_temporary_cache()
    from torchmetrics.image.fid import FrechetInceptionDistance

    if max(float(np.abs(generated).max()), float(np.abs(real).max())) > _LARGEST:
        raise DataError(f"fid compares squares of features, and some are beyond {_LARGEST:g}")
    identity = nn.Identity()
    identity.num_features = generated.shape[1]  # without it, torchmetrics would pass an image through
    metric = FrechetInceptionDistance(identity)
    metric.update(torch.from_numpy(np.asarray(real, np.float64)), real=True)
    metric.update(torch.from_numpy(np.asarray(generated, np.float64)), real=False)
    return float(metric.compute())


METRIC = Metric(
    name="fid",
    measure=lambda material: {"fid": frechet_distance(material.generated_features, material.real_features)},
    figures={"fid": Figure("FID", "Frechet distance of the features' means and covariances", "squared-distance")},
    compares_features=True,
    by_default=lambda traits: traits.is_image and not traits.has_modes,
    position=1,
)
