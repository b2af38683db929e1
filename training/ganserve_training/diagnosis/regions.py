"""Find which regions of the data's distribution generated samples reach. N = samples, K = regions, F = features.

Regions are known modes; else labels, if a judge can recognise them; else clusters of the training samples (as the
"number of statistically different bins", Richardson & Weiss 2018).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganserve_training.data import DataInfo, from_network
from ganserve_training.diagnosis.feature_space import FeatureSpace
from ganserve_training.diagnosis.observation import RegionKind
from ganserve_training.evaluation.judge import fit_judge
from ganserve_training.evaluation.modes import Modes

CLUSTERS = 20  # about 13 of 256 samples each, so that a cluster is not empty by chance
REACHED_SHARE = 0.1  # a region is reached with at least this part of its share of real samples
JUDGE_ACCURACY = 0.7
"""Accuracy on held-out samples below which a judge is not used; clusters take its place. Of Fashion-MNIST it reads 0.77
to 0.84 of 256 samples, depending on the seed."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Spread of generated samples over the regions."""

    kind: RegionKind
    regions: int
    reached: int
    relative_entropy: float
    """Entropy of the generated samples' regions, divided by that of the real samples'."""
    agreement: float | None
    """Share of samples in the region of their own label, divided by that of held-out real samples; None: unknown."""


class Regions:
    """A fixed division of the samples' space into `count` regions; `assign` returns each sample's region, int64 [N].

    The training samples `reference` show how much each region should get.
    """

    def __init__(
        self,
        kind: RegionKind,
        assign: Callable[[Tensor], NDArray[np.int64]],
        count: int,
        reference: Tensor,
        accuracy: float | None = None,
    ) -> None:
        self._kind: RegionKind = kind
        self._assign = assign
        self._count = count
        self._accuracy = accuracy  # of labels as regions, on held-out samples
        self._real = self._shares(reference)

    def coverage(self, samples: Tensor, labels: Tensor | None = None) -> Coverage:
        """Return how samples, as networks see them, spread over the regions; `labels` are those asked for."""
        agreement = None
        if labels is not None and self._accuracy is not None and bool(samples.isfinite().all()):
            agreement = float(np.mean(self._assign(samples) == labels.cpu().numpy())) / self._accuracy
        shares = self._shares(samples)
        there = self._real > 0.0  # ignore labels and modes that the training samples lack
        entropy, expected = _entropy(shares), _entropy(self._real)
        return Coverage(
            kind=self._kind,
            regions=int(there.sum()),
            reached=int((shares[there] >= REACHED_SHARE * self._real[there]).sum()),
            relative_entropy=entropy / expected if expected > 0.0 else 1.0,
            agreement=agreement,
        )

    def _shares(self, samples: Tensor) -> NDArray[np.float64]:
        """Return each region's share of the samples; those that hold NaN or infinite values are in none."""
        finite = samples[samples.flatten(1).isfinite().all(dim=1)]
        if not len(finite):
            return np.zeros(self._count)
        return np.asarray(np.bincount(self._assign(finite), minlength=self._count) / len(samples), np.float64)


def mode_regions(modes: Modes, info: DataInfo, reference: Tensor) -> Regions:
    """Make regions of known modes; each sample belongs to the nearest."""

    def assign(samples: Tensor) -> NDArray[np.int64]:
        return modes.assign(from_network(samples.cpu(), info).numpy())[0]

    return Regions("modes", assign, modes.count, reference)


def label_regions(
    space: FeatureSpace, reference: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], classes: int
) -> Regions | None:
    """Make regions of the data's labels as a support vector machine predicts them; None: it is too inaccurate.

    It learns from `reference`, training samples and their labels int64 [N], and is tested on `held_out`. There are no
    such regions if all samples of `reference` have the same label.
    """
    if int(reference[1].min()) == int(reference[1].max()):
        return None
    judge = fit_judge(_numpy(space(reference[0])), reference[1].cpu().numpy())

    def assign(samples: Tensor) -> NDArray[np.int64]:
        return np.asarray(judge.predict(_numpy(space(samples))), np.int64)

    accuracy = float(np.mean(assign(held_out[0]) == held_out[1].cpu().numpy()))
    return Regions("labels", assign, classes, reference[0], accuracy) if accuracy >= JUDGE_ACCURACY else None


def cluster_regions(space: FeatureSpace, reference: Tensor) -> Regions:
    """Make regions of the training samples' clusters, by k-means."""
    from sklearn.cluster import KMeans

    features = _numpy(space(reference))
    count = min(CLUSTERS, len(np.unique(features, axis=0)))
    centres = torch.from_numpy(KMeans(count, n_init=1, random_state=0).fit(features).cluster_centers_).float()

    def assign(samples: Tensor) -> NDArray[np.int64]:
        nearest = torch.cdist(space(samples).cpu(), centres).argmin(dim=1)
        return np.asarray(nearest.numpy(), np.int64)

    return Regions("clusters", assign, count, reference)


def _numpy(features: Tensor) -> NDArray[Any]:
    return np.asarray(features.cpu().numpy())


def _entropy(shares: NDArray[np.float64]) -> float:
    seen = shares[shares > 0.0]
    return float(-(seen * np.log(seen)).sum())
