"""Measure how far features lie from the data: the distance to the nearest of many cluster centres.

The distance is Mahalanobis', with one covariance for all clusters (as Lee et al. 2018 use it for a classifier's
features, with a cluster for each label; here k-means finds the clusters, so that unlabelled data work, too).

N = samples, F = features, P = principal components, K = clusters.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.cluster import KMeans

from ganserve_export.typicality.features import FloatArray

COMPONENTS, CLUSTERS, SAMPLES_PER_CLUSTER = 32, 128, 8
# Added to each variance, as a share of the features' mean variance: rare directions count, noise does not dominate.
SHRINKAGE = 0.2
_LEAST_VARIANCE, _LEAST_DISTANCE, _LEAST_SPREAD = 1e-6, 1e-6, 1e-3
_USUAL = 0.97  # The distance that this share of the data has at most becomes 1.


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clusters:
    """Features float32 [N, F] -> how far they lie from the data, float32 [N]: 0 on average, 1 for the outermost 3 %."""

    mean: FloatArray
    """[F]."""
    components: FloatArray
    """[F, P]."""
    whitening: FloatArray
    """[P, P]: makes the deviation from the nearest centre equally large in all directions."""
    centres: FloatArray
    """[K, P], whitened."""
    rest_weight: float
    """Weight of the squared distance outside the components; 0 if there is nothing outside."""
    offset: float
    """Mean of the logarithm of the distance."""
    scale: float
    """One divided by its spread."""

    @classmethod
    def of(cls, features: FloatArray, others: FloatArray) -> Self:
        """Return the clusters of some samples' features, with the distances scaled by those of other samples."""
        count, size = features.shape
        mean = features.mean(axis=0)
        centred = (features - mean).astype(np.float64)
        variances, vectors = np.linalg.eigh(centred.T @ centred / count)
        kept = min(COMPONENTS, size)
        components, outside = vectors[:, ::-1][:, :kept], variances[::-1][kept:]
        least = max(SHRINKAGE * float(variances.mean()), _LEAST_VARIANCE)
        values = centred @ components
        distinct = len(np.unique(values.round(6), axis=0))
        clusters = max(1, min(CLUSTERS, count // SAMPLES_PER_CLUSTER, distinct))
        means = KMeans(clusters, n_init=1, random_state=0).fit(values)
        sizes = np.bincount(means.labels_, minlength=clusters)[means.labels_]
        # A centre is pulled towards its own samples: undo that.
        within = (values - means.cluster_centers_[means.labels_]) * np.sqrt(sizes / np.maximum(sizes - 1, 1))[:, None]
        spread, directions = np.linalg.eigh(within.T @ within / count)
        whitening = directions / np.sqrt(np.maximum(spread, 0) + least)
        unscaled = cls(
            mean=mean,
            components=components.astype(np.float32),
            whitening=whitening.astype(np.float32),
            centres=(means.cluster_centers_ @ whitening).astype(np.float32),
            rest_weight=1 / (least + float(outside.mean())) if len(outside) else 0.0,
            offset=0.0,
            scale=1.0,
        )
        distances = unscaled(others)
        offset = float(distances.mean())
        spread_of_distances = max(float(np.quantile(distances, _USUAL)) - offset, _LEAST_SPREAD)
        parts = {name: getattr(unscaled, name) for name in ("mean", "components", "whitening", "centres")}
        return cls(**parts, rest_weight=unscaled.rest_weight, offset=offset, scale=1 / spread_of_distances)

    def __call__(self, features: FloatArray) -> FloatArray:
        """Return how far features lie from the data."""
        centred = features - self.mean
        values = centred @ self.components
        white = values @ self.whitening
        nearest = (white @ self.centres.T - (self.centres**2).sum(axis=1) / 2).argmax(axis=1)
        # Subtract before squaring: for clusters far smaller than their distance from zero, rounding would be all.
        distances = ((white - self.centres[nearest]) ** 2).sum(axis=1)
        if self.rest_weight:
            outside = np.maximum((centred**2).sum(axis=1) - (values**2).sum(axis=1), 0)
            distances = distances + np.float32(self.rest_weight) * outside
        logarithms = np.log(distances + np.float32(_LEAST_DISTANCE))
        return np.asarray((logarithms - np.float32(self.offset)) * np.float32(self.scale), np.float32)


LEAST_DISTANCE = _LEAST_DISTANCE
