"""A fixed space in which samples are compared. N = samples, F = features, C, H, W = image, D = values of a vector.

Every run's space is made once from its training samples and never changes, so that what is measured at step 100 and at
step 100,000 compares.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE_PX = 16  # Larger images are averaged down to this: a collapse shows at any resolution.
_MOST_FEATURES = 32


class FeatureSpace:
    """The training samples' leading principal components, at most 32 (vectors of up to 32 values stay as they are).

    Noise has almost no extent along the components of real data, so that an untrained generator does not pass for a
    varied one, as it would in pixel space.

    Args:
        reference: Training samples as networks see them, float32 [N, C, H, W] or [N, D].
    """

    def __init__(self, reference: Tensor) -> None:
        flat = _flatten(reference)
        self._mean = flat.mean(dim=0)
        self._axes: Tensor | None = None
        if flat.shape[1] > _MOST_FEATURES:
            centred = (flat - self._mean).double()
            _, axes = torch.linalg.eigh(centred.T @ centred)  # In ascending order of variance.
            self._axes = axes[:, -_MOST_FEATURES:].flip(1).to(flat.dtype)

    def __call__(self, samples: Tensor) -> Tensor:
        """Sample as networks see them -> float32 [N, F], on the samples' device."""
        flat = _flatten(samples) - self._mean.to(samples.device)
        return flat if self._axes is None else flat @ self._axes.to(samples.device)


def mean_pairwise_distance(features: Tensor, labels: Tensor | None) -> float:
    """Mean Euclidean distance between two different samples, [N, F]; with labels, int64 [N], of those that share one.

    Where no two samples share a label, of all.
    """
    count = len(features)
    pairs = ~torch.eye(count, dtype=torch.bool, device=features.device)
    if labels is not None:
        alike = pairs & (labels[:, None] == labels[None, :])
        pairs = alike if bool(alike.any()) else pairs
    # Exact: the default for more than 25 samples goes through a product, and calls equal samples different.
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    return float(distances[pairs].mean())


def _flatten(samples: Tensor) -> Tensor:
    if samples.dim() == 4 and max(samples.shape[2:]) > _SIDE_PX:
        samples = F.adaptive_avg_pool2d(samples, _SIDE_PX)
    return samples.flatten(1).float()
