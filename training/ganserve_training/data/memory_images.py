"""Images in memory. N = images, M = images taken, H = height, W = width, C = channels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.data.samples import Samples, digest_arrays
from ganserve_training.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Images(Samples):
    """A set of images with or without labels."""

    rows = "pixels"

    pixels: NDArray[np.uint8]
    """uint8 [N, H, W, C]."""

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4:
            raise DataError(f"pixels must be uint8 [N, H, W, C] (got {self.pixels.dtype} {list(self.pixels.shape)})")
        super().__post_init__()

    @property
    def info(self) -> DataInfo:
        """Shape and label names."""
        return DataInfo(sample_shape=self.pixels.shape[1:], label_names=self.label_names)

    def sha256(self) -> str:
        """Return a digest of pixels, labels and names: what training saw."""
        return digest_arrays(repr((self.pixels.shape, self.label_names)), self.pixels, self.labels)
