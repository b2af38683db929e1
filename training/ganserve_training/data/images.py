"""Images in memory, and the one conversion between bytes and numbers.

N = batch, H = height, W = width, C = channels.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganserve_training.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class DataInfo:
    """What one sample looks like, and what the labels are called."""

    channels: int
    """C: 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA."""
    height: int
    """H, in pixels."""
    width: int
    """W, in pixels."""
    label_names: tuple[str, ...]
    """In the order of their indices; empty: unlabelled data."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            "channels": self.channels,
            "height": self.height,
            "width": self.width,
            "label_names": list(self.label_names),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DataInfo":
        """The inverse of :meth:`to_dict`."""
        return cls(**{**values, "label_names": tuple(values["label_names"])})


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
        if (self.labels is None) != (not self.label_names):
            raise DataError("labels and label_names must be given together, or neither")
        if self.labels is not None:
            if self.labels.dtype != np.int64 or self.labels.shape != (len(self.pixels),):
                raise DataError(
                    f"labels must be int64 [{len(self.pixels)}] (got {self.labels.dtype} {list(self.labels.shape)})"
                )
            if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.label_names):
                raise DataError(
                    f"labels must be indices below {len(self.label_names)} "
                    f"(got {self.labels.min()} to {self.labels.max()})"
                )

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def info(self) -> DataInfo:
        """Shape and label names."""
        _, height, width, channels = self.pixels.shape
        return DataInfo(channels=channels, height=height, width=width, label_names=self.label_names)

    def take(self, indices: NDArray[np.int64]) -> "Images":
        """The images at ``indices``, int64 [M]."""
        labels = None if self.labels is None else self.labels[indices]
        return Images(pixels=self.pixels[indices], labels=labels, label_names=self.label_names)

    def sha256(self) -> str:
        """A digest of pixels, labels and names: what training saw."""
        digest = hashlib.sha256(repr((self.pixels.shape, self.label_names)).encode())
        digest.update(self.pixels.tobytes())
        if self.labels is not None:
            digest.update(self.labels.tobytes())
        return digest.hexdigest()


def to_float(pixels: Tensor) -> Tensor:
    """Bytes, uint8 [N, H, W, C], as the networks see them: float32 [N, C, H, W] in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0).contiguous()


def to_uint8(images: Tensor) -> Tensor:
    """What a generator makes, float [N, C, H, W] in about [-1, 1], as bytes: uint8 [N, H, W, C]."""
    return images.add(1.0).mul_(127.5).clamp_(0.0, 255.0).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
