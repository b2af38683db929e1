"""Batches for training. N = batch, C, H, W = image, D = values of a vector."""

import numpy as np
import torch
from torch import Tensor

from ganserve_training.data.config import DataConfig
from ganserve_training.data.prefetched_batches import PrefetchedBatches
from ganserve_training.data.sample_info import to_network
from ganserve_training.data.sample_order import SampleSequence
from ganserve_training.data.samples import Samples

_AS_FLOATS_BYTES = 2**27


class InMemoryBatches:
    """Batches of samples that all fit on the device."""

    def __init__(self, samples: Samples, config: DataConfig, seed: int, device: torch.device) -> None:
        self._sequence = SampleSequence(samples, config, seed)
        self._device = device
        self._info = samples.info
        everything = torch.from_numpy(samples.read(np.arange(len(samples))))
        # Floats take four times as much memory as bytes, so convert only small sets.
        self._converted = everything.numel() * 4 <= _AS_FLOATS_BYTES
        self._samples = (to_network(everything, samples.info) if self._converted else everything).to(device)
        self._labels = None if samples.labels is None else torch.from_numpy(samples.labels).to(device)

    def batch(self, position: int, count: int) -> tuple[Tensor, Tensor | None]:
        """Return samples `position` to `position + count - 1` of the endless sequence, and their labels.

        Any position may be read, so resuming, other batch sizes and other numbers of processes need no state.

        Returns:
            On the device: samples as networks see them, float32 [N, C, H, W] or [N, D]; labels, int64 [N] or None.
        """
        indices = torch.from_numpy(self._sequence.indices(position, count)).to(self._device)
        samples = self._samples[indices]
        if not self._converted:
            samples = to_network(samples, self._info)
        return self._sequence.mirrored(samples, position), None if self._labels is None else self._labels[indices]

    def close(self) -> None:
        """Do nothing: there are no workers."""


BatchSource = InMemoryBatches | PrefetchedBatches
"""Batches of an endless sequence of samples, each read without those before it."""


def make_batches(samples: Samples, config: DataConfig, seed: int, device: torch.device) -> BatchSource:
    """Return batches of the samples in the order that the configuration and the run's seed give.

    The sequence is the same in memory and with any number of workers. Samples that don't fit raise DataError.
    """
    kind = InMemoryBatches if samples.in_memory else PrefetchedBatches
    return kind(samples, config, seed, device)
