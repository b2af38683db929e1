"""Draw random inputs for a package's two graphs, such as a server will feed. N = batch, Z = latent, D = vector."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ganserve_export.package.latent_values import LatentValues
from ganserve_training import DataInfo

InputMaker: TypeAlias = Callable[[int, torch.Generator], dict[str, Tensor]]
"""Draws inputs by name for a batch size from a random generator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomInputs:
    """Draw inputs by name for a batch size."""

    prior: LatentValues
    data: DataInfo
    label_count: int
    """0: the generator takes no labels."""
    critic_uses_labels: bool

    def for_generator(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        """Draw latents from the prior, and uniform labels if the generator takes labels."""
        latents = self.prior.draw(batch, random)
        return {"latents": latents} | self._labels(self.label_count > 0, batch, random)

    def for_critic(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        """Draw uniform pixels, or vectors with the data's mean and deviation, and uniform labels if it takes labels."""
        data = self.data
        if data.is_image:
            samples = torch.randint(0, 256, (batch, *data.sample_shape), generator=random, dtype=torch.uint8)
        else:
            normal = torch.randn(batch, *data.sample_shape, generator=random)
            samples = normal * torch.tensor(data.std) + torch.tensor(data.mean)
        return {"samples": samples} | self._labels(self.critic_uses_labels, batch, random)

    def _labels(self, taken: bool, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        return {"labels": torch.randint(0, self.label_count, (batch,), generator=random)} if taken else {}
