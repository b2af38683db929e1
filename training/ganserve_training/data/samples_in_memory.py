"""Images and vectors in memory. N = samples, H, W, C = image, D = values of a vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.data.samples import Samples, digest_arrays
from ganserve_training.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Images(Samples):
    """Images with or without labels."""

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
        """Return a digest of pixels, labels and names."""
        return digest_arrays(repr((self.pixels.shape, self.label_names)), self.pixels, self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors(Samples):
    """Vectors with or without labels."""

    rows = "values"

    values: NDArray[np.float32]
    """float32 [N, D], in their own units."""
    mean: tuple[float, ...]
    """[D], what networks see as 0."""
    std: tuple[float, ...]
    """[D], what networks see as 1."""

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or self.values.ndim != 2:
            raise DataError(f"vectors must be float32 [N, D] (got {self.values.dtype} {list(self.values.shape)})")
        if not np.isfinite(self.values).all():
            row, column = np.argwhere(~np.isfinite(self.values))[0]
            raise DataError(f"vector {row} has {self.values[row, column]} at position {column}: only finite values")
        super().__post_init__()

    @classmethod
    def standardised(
        cls, values: NDArray[np.float32], labels: NDArray[np.int64] | None = None, label_names: tuple[str, ...] = ()
    ) -> Vectors:
        """Return vectors that networks see with mean 0 and deviation 1; a constant dimension keeps its scale."""
        with np.errstate(invalid="ignore"):  # __post_init__ refuses values that are not finite.
            mean, std = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
        return cls(
            values=values,
            mean=tuple(mean.tolist()),
            std=tuple(np.where(std > 0.0, std, 1.0).tolist()),
            labels=labels,
            label_names=label_names,
        )

    @property
    def info(self) -> DataInfo:
        """Shape, scale and label names."""
        return DataInfo(sample_shape=self.values.shape[1:], label_names=self.label_names, mean=self.mean, std=self.std)

    def sha256(self) -> str:
        """Return a digest of values, scale, labels and names."""
        scale = repr((self.values.shape, self.mean, self.std, self.label_names))
        return digest_arrays(scale, self.values, self.labels)
