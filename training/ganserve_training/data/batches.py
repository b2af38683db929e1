"""Batches for training. N = batch, C, H, W = image."""

from typing import Protocol

import torch
from torch import Tensor

from ganserve_training.data.images import Images, to_float
from ganserve_training.data.order import ShuffledOrder


class BatchSource(Protocol):
    """Gives the batch of any step without having given the ones before it, so that resuming needs no state."""

    def batch(self, index: int) -> tuple[Tensor, Tensor | None]:
        """Batch ``index``, counted from 0: samples float32 [N, C, H, W] in [-1, 1], and labels int64 [N] or None."""
        ...


class InMemoryBatches:
    """Batches of images that all fit on the device.

    Args:
        images: all of them.
        batch_size: samples in one batch.
        seed: seed of the order.
        device: where the batches are wanted.
    """

    def __init__(self, images: Images, batch_size: int, seed: int, device: torch.device) -> None:
        self._order = ShuffledOrder(len(images), batch_size, seed)
        self._device = device
        self._samples = to_float(torch.from_numpy(images.pixels)).to(device)
        self._labels = None if images.labels is None else torch.from_numpy(images.labels).to(device)

    def batch(self, index: int) -> tuple[Tensor, Tensor | None]:
        """Batch ``index``, counted from 0: samples float32 [N, C, H, W] in [-1, 1], and labels int64 [N] or None."""
        indices = torch.from_numpy(self._order.batch(index)).to(self._device)
        return self._samples[indices], None if self._labels is None else self._labels[indices]
