"""Which sample is at which place of a run's endless sequence. N = batch, C, H, W = image, D = values of a vector."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganserve_training.data.order import ClassBalancedOrder, SampleOrder, ShuffledOrder, flips
from ganserve_training.data.samples import Samples
from ganserve_training.errors import DataError


class SampleSequence:
    """Which sample is at which place of a run's endless sequence, and whether it is mirrored there.

    Args:
        samples: What the sequence is made of.
        seed: Seed of the order and of what is mirrored.
        flip: Whether half of the images are mirrored left to right.
        class_balanced: Whether labels come equally often, rather than samples.

    Raises:
        DataError: Vectors are to be mirrored, or unlabelled samples balanced.
    """

    def __init__(self, samples: Samples, seed: int, *, flip: bool = False, class_balanced: bool = False) -> None:
        if flip and not samples.info.is_image:
            raise DataError("--data.flip: needs images, and these data are vectors. Leave it out.")
        self._flip_seed = seed if flip else None
        self._order: SampleOrder = ShuffledOrder(len(samples), seed)
        if class_balanced:
            if samples.labels is None:
                raise DataError("--data.class-balanced: needs labels, and these data have none. Leave it out.")
            self._order = ClassBalancedOrder(samples.labels, seed)

    def indices(self, position: int, count: int) -> NDArray[np.int64]:
        """Return which samples are at `position` to `position + count - 1`: int64 [count]."""
        return self._order.indices(position, count)

    def mirrored(self, batch: Tensor, position: int) -> Tensor:
        """Return the batch, [N, C, H, W] or [N, D], from `position` on, with the images that are mirrored there."""
        if self._flip_seed is None:
            return batch
        mask = torch.from_numpy(flips(position, len(batch), self._flip_seed)).to(batch.device)
        return torch.where(mask[:, None, None, None], batch.flip(3), batch)
