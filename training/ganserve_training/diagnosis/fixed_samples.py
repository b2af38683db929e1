"""Choose the real samples that every look of a run uses. N = samples."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganserve_training.data import Samples, to_network

_PER_LABEL = 8  # samples of one label, so that there are pairs to compare


def whole_units(count: int, unit: int) -> int:
    """Return the largest multiple of `unit` up to `count`, at least one unit, so that packs and groups stay whole."""
    return max(count // unit, 1) * unit


def shown_classes(label_names: tuple[str, ...], count: int) -> NDArray[np.int64] | None:
    """Return the classes of `count` samples: all, or evenly spaced ones if there are too many; None: unlabelled."""
    if not label_names:
        return None
    shown = max(1, min(len(label_names), count // _PER_LABEL))
    return np.linspace(0, len(label_names) - 1, shown).round().astype(np.int64)


def take_samples(
    samples: Samples, count: int, classes: NDArray[np.int64] | None, rng: np.random.Generator, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Return `count` random samples as networks see them and their labels; samples repeat if there are too few."""
    candidates = np.arange(len(samples))
    if classes is not None and samples.labels is not None:
        wanted = np.isin(samples.labels, classes)
        candidates = candidates[wanted] if wanted.any() else candidates
    order = rng.permutation(candidates)
    chosen = np.resize(order, count) if len(order) < count else order[:count]
    chosen = np.sort(chosen)  # read files in their order
    chosen = chosen[rng.permutation(len(chosen))]
    labels = None if samples.labels is None else torch.from_numpy(samples.labels[chosen]).to(device)
    return to_network(torch.from_numpy(samples.read(chosen)), samples.info).to(device), labels
