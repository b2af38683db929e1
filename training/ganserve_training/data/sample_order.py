"""The order in which training sees the samples, computed from the seed alone, so that resuming needs no state.

K = labels, N = batch, C, H, W = image, D = values of a vector.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganserve_training.data.config import DataConfig
from ganserve_training.data.samples import Samples
from ganserve_training.errors import DataError

_FLIP_STREAM, _LABEL_STREAM = 2, 3  # `noise_seed` uses stream 1.
_FLIP_BLOCK = 1024


class ShuffledOrder:
    """An endless sequence of epochs, each a fresh permutation of `count` samples.

    A counter-based generator (Philox), addressed by seed and epoch, draws each permutation, so any part of the sequence
    is known without drawing the parts before it.
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1 (got {count})")
        self._count = count
        self._seed = seed
        self._cached_epoch = -1
        self._cached: NDArray[np.int64] = np.empty(0, np.int64)

    def indices(self, position: int, count: int) -> NDArray[np.int64]:
        """Return the samples at places `position` to `position + count - 1` of the sequence: int64 [count]."""
        parts = []
        end = position + count
        while position < end:
            epoch, offset = divmod(position, self._count)
            part = self._epoch(epoch)[offset : offset + end - position]
            parts.append(part)
            position += len(part)
        return np.concatenate(parts)

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._cached_epoch:
            bits = np.random.Philox(key=np.array([self._seed, epoch], np.uint64))
            self._cached = np.random.Generator(bits).permutation(self._count)
            self._cached_epoch = epoch
        return self._cached


class ClassBalancedOrder:
    """An endless sequence of rounds; each round shows every label once, in a fresh order.

    Within its label, every sample is shown once before any is shown again, as in `ShuffledOrder`. Labels, int64 [N],
    without samples are left out.
    """

    def __init__(self, labels: NDArray[np.int64], seed: int) -> None:
        present = np.unique(labels)
        if not len(present):
            raise ValueError("there must be at least 1 label (got none)")
        self._members = [np.flatnonzero(labels == label) for label in present]
        self._rounds = ShuffledOrder(len(present), stream_seed(seed, _LABEL_STREAM))
        self._within = [
            ShuffledOrder(len(members), stream_seed(seed, _LABEL_STREAM, int(label)))
            for label, members in zip(present, self._members, strict=True)
        ]

    def indices(self, position: int, count: int) -> NDArray[np.int64]:
        """Return the samples at places `position` to `position + count - 1` of the sequence: int64 [count]."""
        classes = self._rounds.indices(position, count)
        rounds = np.arange(position, position + count) // len(self._members)
        result = np.empty(count, np.int64)
        for number in np.unique(classes):
            places = np.flatnonzero(classes == number)
            # Each round has a label once, so its rounds are consecutive.
            chosen = self._within[number].indices(int(rounds[places[0]]), len(places))
            result[places] = self._members[number][chosen]
        return result


def flips(position: int, count: int, seed: int) -> NDArray[np.bool_]:
    """Return which of `count` places from `position` on are mirrored, bool [count]; seed and place decide."""
    first, last = position // _FLIP_BLOCK, (position + count - 1) // _FLIP_BLOCK
    key = stream_seed(seed, _FLIP_STREAM)
    words = [
        np.random.Philox(key=np.array([key, block], np.uint64)).random_raw(_FLIP_BLOCK // 64)
        for block in range(first, last + 1)
    ]
    coins = np.unpackbits(np.concatenate(words).astype("<u8").view(np.uint8))
    offset = position - first * _FLIP_BLOCK
    return coins[offset : offset + count].astype(np.bool_)


def stream_seed(*address: int) -> int:
    """Return a different seed for each address, such as a seed and a stream's number."""
    return int(np.random.SeedSequence(list(address)).generate_state(1, np.uint64)[0] >> np.uint64(1))


class SampleSequence:
    """A run's endless sequence: which sample is at each place, and whether it is mirrored there."""

    def __init__(self, samples: Samples, config: DataConfig, seed: int) -> None:
        if config.flip and not samples.info.is_image:
            raise DataError("--data.flip: needs images, and these data are vectors. Leave it out.")
        self._flip_seed = seed if config.flip else None
        self._order: ShuffledOrder | ClassBalancedOrder = ShuffledOrder(len(samples), seed)
        if config.class_balanced:
            if samples.labels is None:
                raise DataError("--data.class-balanced: needs labels, and these data have none. Leave it out.")
            self._order = ClassBalancedOrder(samples.labels, seed)

    def indices(self, position: int, count: int) -> NDArray[np.int64]:
        """Return the samples at places `position` to `position + count - 1`: int64 [count]."""
        return self._order.indices(position, count)

    def mirrored(self, batch: Tensor, position: int) -> Tensor:
        """Return a batch, [N, C, H, W] or [N, D], from `position` on, with some images mirrored."""
        if self._flip_seed is None:
            return batch
        mask = torch.from_numpy(flips(position, len(batch), self._flip_seed)).to(batch.device)
        return torch.where(mask[:, None, None, None], batch.flip(3), batch)
