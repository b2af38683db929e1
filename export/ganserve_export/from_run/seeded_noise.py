"""Noise of a style-based generator that follows from its latents. N = batch, Z = latent, R = side in pixels.

A server must give the same sample for the same seed, so its graphs draw no random numbers. They compute noise from the
latents with whole numbers below 2^62, so that every machine gets the same.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_PRIME = 2**31 - 1
_FINE, _FARTHEST = 65536.0, 64.0  # latents are read in steps of 1/65,536 up to 64
_SEED = 20_000_047
_STRIDE, _OFFSETS = 1_000_003, (7_919, 104_729)
_FACTORS = (48_271, 69_621, 39_373, 16_807)


class SeededNoise(nn.Module):
    """Draws standard normal noise [N, 1, R, R] for each side R from latents [N, Z]."""

    weights: Tensor

    def __init__(self, latent_dim: int, sides: Sequence[int]) -> None:
        super().__init__()
        self._sides = tuple(sides)
        random = torch.Generator().manual_seed(_SEED)
        self.register_buffer("weights", torch.randint(1, 2**24, (2, latent_dim), generator=random))

    def forward(self, latents: Tensor) -> list[Tensor]:
        """Return the noises; equal latents have equal ones."""
        whole = (latents.to(torch.float32).clamp(-_FARTHEST, _FARTHEST) * _FINE).to(torch.int64)
        first, second = (self._uniform(whole, part) for part in range(2))
        radius = (first.log() * -2.0).clamp(min=0.0).sqrt()  # Box and Muller 1958
        drawn = radius * (second * (2.0 * math.pi)).cos()
        parts = torch.split(drawn, [side**2 for side in self._sides], dim=1)
        return [part.reshape(-1, 1, side, side) for part, side in zip(parts, self._sides, strict=True)]

    def _uniform(self, whole: Tensor, part: int) -> Tensor:
        """Hash whole numbers [N, Z] to values between 0 and 1, one for each pixel of all sides."""
        seeds = (whole * self.weights[part]).sum(dim=1, keepdim=True) % _PRIME
        pixels = sum(side**2 for side in self._sides)
        mixed = seeds + torch.arange(pixels, dtype=torch.int64) * _STRIDE + _OFFSETS[part]
        for factor in _FACTORS:
            mixed = mixed % _PRIME
            mixed = mixed * mixed % _PRIME
            mixed = mixed * factor + _PRIME
        return ((mixed % _PRIME).to(torch.float32) + 0.5) / float(_PRIME)
