"""Compare samples in a fixed feature space. N = samples, F = features, C, H, W = image, D = values of a vector.

A run's space is made once from its training samples and never changes, so that step 100 and step 100,000 can be
compared.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE_PX = 16  # larger images are averaged down to this, as a collapse shows at any resolution
_MOST_FEATURES = 32


class FeatureSpace:
    """The leading principal components, at most 32, of training samples as networks see them, [N, C, H, W] or [N, D].

    Noise has almost no extent along the components of real data; in pixel space, by contrast, an untrained generator
    would look varied. Vectors of up to 32 values stay as they are.
    """

    def __init__(self, reference: Tensor) -> None:
        flat = _flatten(reference)
        self._mean = flat.mean(dim=0)
        self._axes: Tensor | None = None
        if flat.shape[1] > _MOST_FEATURES:
            centred = (flat - self._mean).double()
            _, axes = torch.linalg.eigh(centred.T @ centred)  # in ascending order of variance
            self._axes = axes[:, -_MOST_FEATURES:].flip(1).to(flat.dtype)

    def __call__(self, samples: Tensor) -> Tensor:
        """Convert samples as networks see them to features float32 [N, F], on the samples' device."""
        flat = _flatten(samples) - self._mean.to(samples.device)
        return flat if self._axes is None else flat @ self._axes.to(samples.device)


def mean_pairwise_distance(features: Tensor, labels: Tensor | None) -> float:
    """Return the mean Euclidean distance between two samples of [N, F].

    With labels int64 [N], only pairs with the same label count, unless there are none.
    """
    count = len(features)
    pairs = ~torch.eye(count, dtype=torch.bool, device=features.device)
    if labels is not None:
        alike = pairs & (labels[:, None] == labels[None, :])
        pairs = alike if bool(alike.any()) else pairs
    # The default for more than 25 samples computes by matrix products, which give equal samples a distance above 0.
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    return float(distances[pairs].mean())


def _flatten(samples: Tensor) -> Tensor:
    if samples.dim() == 4 and max(samples.shape[2:]) > _SIDE_PX:
        samples = F.adaptive_avg_pool2d(samples, _SIDE_PX)
    return samples.flatten(1).float()
