"""Batches for training. N = batch."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ganserve_training.data.info import to_network
from ganserve_training.data.order import ShuffledOrder
from ganserve_training.data.samples import Samples


class BatchSource(Protocol):
    """Gives the samples at any place of an endless sequence without having given those before.

    So resuming, other batch sizes and other numbers of processes need no state.
    """

    def batch(self, position: int, count: int) -> tuple[Tensor, Tensor | None]:
        """Samples ``position`` to ``position + count - 1`` of the sequence.

        Returns:
            The samples as networks see them, float32 [N, C, H, W] or [N, D], and their labels, int64 [N] or None; both
            on the device.
        """
        ...

    def close(self) -> None:
        """Stop what reads ahead."""
        ...


class InMemoryBatches:
    """Batches of samples that all fit on the device.

    Args:
        samples: all of them.
        seed: seed of the order.
        device: where the batches are wanted.
    """

    def __init__(self, samples: Samples, seed: int, device: torch.device) -> None:
        self._order = ShuffledOrder(len(samples), seed)
        self._device = device
        everything = torch.from_numpy(samples.read(np.arange(len(samples))))
        self._samples = to_network(everything, samples.info).to(device)
        self._labels = None if samples.labels is None else torch.from_numpy(samples.labels).to(device)

    def batch(self, position: int, count: int) -> tuple[Tensor, Tensor | None]:
        """Samples ``position`` to ``position + count - 1`` of the endless shuffled sequence, and their labels."""
        indices = torch.from_numpy(self._order.indices(position, count)).to(self._device)
        return self._samples[indices], None if self._labels is None else self._labels[indices]

    def close(self) -> None:
        """Nothing reads ahead."""
