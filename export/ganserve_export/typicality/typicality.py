"""Fit the typicality of samples: how many held-out real samples lie at least as far from the training data.

A critic cannot say this. It learned to tell training data from its own generator's samples, and nothing about other
inputs: to it, a blank picture can look as real as any. Typicality is a conformal p-value (Vovk et al. 2005): of new
real samples, at most 5 % have a typicality of 5 % or less, whatever the data.

N = samples, F = features, M = held-out samples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ganserve_export.typicality.clusters import Clusters
from ganserve_export.typicality.features import Features, FloatArray, PictureFeatures, VectorFeatures
from ganserve_training import Samples

MIN_SAMPLES = 20
THRESHOLD = 0.05
LOG_FLOOR = 0.01
_MOST_TRAINING, _MOST_HELD_OUT, _ENOUGH = 5_000, 1_000, 500
_MAX_VALUES = 50_000_000  # of all samples together, so that large images take minutes at most
_EXAMPLES = 64
_SEED = 20_000_029  # fixed: two exports of one checkpoint must give the same typicality


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Typicality:
    """Samples -> typicality float32 [N], from 1 / (M + 1) for the least to 1 for the most usual ones."""

    features: Features
    linear: Clusters
    """Clusters of the features."""
    logarithmic: Clusters | None
    """Clusters of the logarithms of a picture's energies: they see weak noise and missing detail; None for vectors."""
    held_out: FloatArray
    """[M], ascending: how far the held-out samples lie from the training data."""
    training_count: int
    """Number of training samples that it was fitted on."""
    examples: npt.NDArray[Any]
    """Some held-out samples, on which the graph is compared with this."""

    def __call__(self, samples: npt.NDArray[Any]) -> FloatArray:
        """Return the typicality of samples, uint8 [N, H, W, C] or float32 [N, D]."""
        farther = (self.distances(samples)[:, None] < self.held_out[None]).sum(axis=1)
        return np.asarray((farther + 1) / (len(self.held_out) + 1), np.float32)

    def distances(self, samples: npt.NDArray[Any]) -> FloatArray:
        """Return how far samples lie from the training data, [N]; more is farther."""
        return _distances(self.features(samples), self.linear, self.logarithmic)

    def original(self, samples: torch.Tensor) -> torch.Tensor:
        """Return what its graph must give for samples."""
        return torch.from_numpy(self(samples.numpy()))

    def inputs(self, batch: int, random: torch.Generator) -> dict[str, torch.Tensor]:
        """Draw held-out samples, every second one with noise, to compare the graph on."""
        chosen = torch.from_numpy(self.examples)[torch.randint(0, len(self.examples), (batch,), generator=random)]
        values = chosen.to(torch.float32)
        spread = values.std() if len(self.examples) > 1 else torch.tensor(1.0)
        strength = spread * torch.rand(batch, generator=random) * (torch.arange(batch) % 2)
        noise = torch.randn(values.shape, generator=random) * strength.reshape(-1, *[1] * (values.ndim - 1))
        mixed = values + noise
        return {"samples": mixed if chosen.is_floating_point() else mixed.clamp(0, 255).to(chosen.dtype)}


def fit_typicality(training: Samples, held_out: Samples, *, flip: bool) -> Typicality | None:
    """Fit the typicality to training samples and rank it among held-out ones; return None with fewer than 20 of either.

    `flip` says that training mirrors images at random, so that mirrored ones are as typical.
    """
    if min(len(training), len(held_out)) < MIN_SAMPLES:
        return None
    random = np.random.default_rng(_SEED)
    known = _read(training, _MOST_TRAINING, random, flip)
    count = len(known)
    info = training.info
    features: Features = PictureFeatures.of(known) if info.is_image else VectorFeatures.of(info)
    values = features(known)
    del known  # large images of both kinds would take gigabytes
    unseen = _read(held_out, _MOST_HELD_OUT, random, flip)
    some = len(values) * 3 // 4
    linear, logarithmic = Clusters.of(values[:some], values[some:]), None
    if info.is_image:
        logarithms = _logarithms(values)
        logarithmic = Clusters.of(logarithms[:some], logarithms[some:])
    return Typicality(
        features=features,
        linear=linear,
        logarithmic=logarithmic,
        held_out=np.sort(_distances(features(unseen), linear, logarithmic)),
        training_count=count,
        examples=unseen[:_EXAMPLES].copy(),
    )


def _distances(features: FloatArray, linear: Clusters, logarithmic: Clusters | None) -> FloatArray:
    distances = linear(features)
    return distances if logarithmic is None else np.maximum(distances, logarithmic(_logarithms(features)))


def _logarithms(energies: FloatArray) -> FloatArray:
    return np.asarray(np.log(energies + np.float32(LOG_FLOOR)), np.float32)


def _read(samples: Samples, most: int, random: np.random.Generator, flip: bool) -> npt.NDArray[Any]:
    """Read at most `most` samples in random order, fewer of large ones, half of them mirrored if `flip`."""
    size = int(np.prod(samples.info.sample_shape))
    count = min(len(samples), most, max(_ENOUGH, _MAX_VALUES // size))
    read = samples.read(random.permutation(len(samples))[:count])
    if flip:
        mirrored = random.random(count) < 0.5
        read = read.copy()
        for place in np.flatnonzero(mirrored):
            read[place] = read[place][:, ::-1].copy()
    return read
