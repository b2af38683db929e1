"""Images in memory. N = images, M = images taken, H = height, W = width, C = channels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.data.samples import check_labels, digest_arrays
from ganserve_training.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Images:
    """A set of images with or without labels."""

    pixels: NDArray[np.uint8]
    """uint8 [N, H, W, C]."""
    labels: NDArray[np.int64] | None = None
    """int64 [N], indices into label_names; None: unlabelled."""
    label_names: tuple[str, ...] = ()
    """Names of the labels."""

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise DataError(f"pixels must be uint8 [N, H, W, C] (got {self.pixels.dtype} {list(self.pixels.shape)})")
        check_labels(self.labels, self.label_names, len(self.pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def in_memory(self) -> bool:
        """Always."""
        return True

    @property
    def info(self) -> DataInfo:
        """Shape and label names."""
        return DataInfo(sample_shape=self.pixels.shape[1:], label_names=self.label_names)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The pixels at `indices`, int64 [M]: uint8 [M, H, W, C]."""
        return self.pixels[indices]

    def take(self, indices: NDArray[np.int64]) -> Images:
        """The images at `indices`, int64 [M]."""
        labels = None if self.labels is None else self.labels[indices]
        return Images(pixels=self.pixels[indices], labels=labels, label_names=self.label_names)

    def without_labels(self) -> Images:
        """The same images, unlabelled."""
        return replace(self, labels=None, label_names=())

    def sha256(self) -> str:
        """A digest of pixels, labels and names: what training saw."""
        return digest_arrays(repr((self.pixels.shape, self.label_names)), self.pixels, self.labels)
