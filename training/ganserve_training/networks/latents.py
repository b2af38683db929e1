"""The distribution of a generator's latents. N = batch, Z = latent."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ganserve_training.networks.config import LatentDistribution, NetworksConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentPrior:
    """A prior of independent values; the last ones can be InfoGAN's continuous codes."""

    dim: int
    """Z, codes included."""
    distribution: LatentDistribution
    """Distribution of the values that are not codes."""
    continuous_codes: int
    """Number of the last values that are codes, uniform on [-1, 1)."""

    @classmethod
    def of(cls, config: NetworksConfig) -> Self:
        """Return the prior of the networks of `config`."""
        return cls(
            dim=config.latent_dim,
            distribution=config.latent_distribution,
            continuous_codes=config.codes.continuous,
        )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw latents float32 [count, Z] on the generator's device."""
        shape = (count, self.dim)
        if self.distribution == "uniform":
            return _uniform(shape, generator)
        latents = torch.randn(shape, generator=generator, device=generator.device)
        if self.continuous_codes:
            latents[:, -self.continuous_codes :] = _uniform((count, self.continuous_codes), generator)
        return latents


def _uniform(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device).mul_(2.0).sub_(1.0)
