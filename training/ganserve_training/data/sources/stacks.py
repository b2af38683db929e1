"""Three gray images as the channels of one: a thousand modes out of ten. N = stacks, M = images, H, W = image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import DrawnDataConfig, ImageDataConfig, SplitName
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.data.samples import Samples
from ganserve_training.data.storage.stored_images import IN_MEMORY_BYTES

CHANNELS = 3
_HASHED_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class StacksConfig(ImageDataConfig, DrawnDataConfig):
    """Three random digits of ten labels as the channels of one image, unlabelled."""

    drawing_bytes = 8 * CHANNELS

    def load_digits(self, report: ReportBadFiles | None) -> Samples:
        """Return gray images, uint8 [M, H, W, 1], with the labels "0" to "9"."""
        raise NotImplementedError

    def digits_of_side(self, split: SplitName, report: ReportBadFiles | None) -> Samples:
        """Return the digits of one side of the split, with labels."""
        digits = self.load_digits(report)
        train, held_out = self.split_indices(len(digits), digits.labels)
        return digits.take(train if split == "train" else held_out)

    def load_side(self, split: SplitName, report: ReportBadFiles | None) -> Stacks:
        """Return stacks of three random digits of one side of the split each."""
        digits = self.digits_of_side(split, report)
        stream = 2 if split == "held_out" else 1
        random = np.random.Generator(np.random.Philox(key=np.array([self.split_seed, stream], np.uint64)))
        picks = random.integers(0, len(digits), (self.side_count(split), CHANNELS))
        return Stacks(planes=digits.read(np.arange(len(digits)))[..., 0], picks=picks)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stacks(Samples):
    """Images that are stacked when read."""

    rows = "picks"

    planes: NDArray[np.uint8]
    """Images to choose from, uint8 [M, H, W]."""
    picks: NDArray[np.int64]
    """int64 [N, 3]: the image in each channel."""

    @property
    def in_memory(self) -> bool:
        """Return whether all stacks together are small enough."""
        return len(self) * int(np.prod(self.info.sample_shape)) <= IN_MEMORY_BYTES

    @property
    def info(self) -> DataInfo:
        """Shape of a stack."""
        return DataInfo(sample_shape=(*self.planes.shape[1:], CHANNELS))

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the stacks at `indices`, int64 [N]: uint8 [N, H, W, 3]."""
        # [N, 3, H, W]
        stacks = self.planes[self.picks[indices]]
        return np.ascontiguousarray(stacks.transpose(0, 2, 3, 1))

    def sha256(self) -> str:
        """Return the digest of the same stacks as `Images`."""
        digest = hashlib.sha256(repr(((len(self), *self.info.sample_shape), self.label_names)).encode())
        for start in range(0, len(self), _HASHED_AT_ONCE):
            digest.update(self.read(np.arange(start, min(start + _HASHED_AT_ONCE, len(self)))).data)
        return digest.hexdigest()
