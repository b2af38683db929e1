"""The form of one sample, and its conversion between users and networks.

N = batch, H = height, W = width, C = channels, D = values of a vector.

Users, files and servers: images uint8 [N, H, W, C], vectors float32 [N, D] in their own units. Networks: images
float32 [N, C, H, W] in [-1, 1], vectors float32 [N, D] with mean 0 and standard deviation 1 in each dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ganserve_training.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class DataInfo:
    """Shape of one sample, names of the labels, and scale of vectors."""

    sample_shape: tuple[int, ...]
    """(H, W, C) for images (C: 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA), (D,) for vectors."""
    label_names: tuple[str, ...] = ()
    """Names of the labels, in the order of their indices; empty: unlabelled data."""
    mean: tuple[float, ...] = ()
    """Vectors only: the training samples' mean in each dimension, [D]."""
    std: tuple[float, ...] = ()
    """Vectors only: their standard deviation, [D]."""

    def __post_init__(self) -> None:
        if len(self.sample_shape) not in (1, 3):
            raise DataError(f"a sample is an image (H, W, C) or a vector (D,) (got shape {self.sample_shape})")
        expected = 0 if self.is_image else self.sample_shape[0]
        if not len(self.mean) == len(self.std) == expected:
            raise DataError(f"mean and std must have {expected} values (got {len(self.mean)} and {len(self.std)})")

    @property
    def is_image(self) -> bool:
        """Return true for images, false for vectors."""
        return len(self.sample_shape) == 3

    @property
    def height(self) -> int:
        """H of an image, in pixels."""
        return self.sample_shape[0]

    @property
    def width(self) -> int:
        """W of an image, in pixels."""
        return self.sample_shape[1]

    @property
    def channels(self) -> int:
        """C of an image."""
        return self.sample_shape[2]

    @property
    def network_shape(self) -> tuple[int, ...]:
        """Shape for networks, without the batch axis: (C, H, W) for images, (D,) for vectors."""
        return (self.channels, self.height, self.width) if self.is_image else self.sample_shape

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {item.name: list(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataInfo:
        """Return the info that `to_dict` wrote."""
        return cls(**{name: tuple(value) for name, value in values.items()})


def to_network(samples: Tensor, info: DataInfo) -> Tensor:
    """Convert samples, uint8 [N, H, W, C] or float32 [N, D], to float32 as networks see them."""
    if info.is_image:
        return samples.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0).contiguous()
    mean, std = samples.new_tensor(info.mean), samples.new_tensor(info.std)
    return (samples - mean) / std


def from_network(outputs: Tensor, info: DataInfo) -> Tensor:
    """Convert a generator's outputs to samples for users: uint8 [N, H, W, C] or float32 [N, D]."""
    outputs = outputs.to(torch.float32)
    if info.is_image:
        return outputs.add(1.0).mul_(127.5).clamp_(0.0, 255.0).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    mean, std = outputs.new_tensor(info.mean), outputs.new_tensor(info.std)
    return outputs * std + mean
