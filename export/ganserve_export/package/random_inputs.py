"""Draw random inputs for a package's two graphs, such as a server will feed. N = batch, Z = latent, D = vector."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from ganserve_training import DataInfo
from ganserve_training.networks.latents import LatentPrior

InputMaker: TypeAlias = Callable[[int, torch.Generator], dict[str, Tensor]]
"""Draws inputs by name for a batch size from a random generator."""


class RandomInputs:
    """Draw inputs by name for a batch size; `label_count` 0: the generator takes no labels."""

    def __init__(self, prior: LatentPrior, data: DataInfo, *, label_count: int, critic_uses_labels: bool) -> None:
        self._prior = prior
        self._data = data
        self._label_count = label_count
        self._critic_uses_labels = critic_uses_labels

    def for_generator(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        """Draw latents from the prior, and uniform labels if the generator takes labels."""
        inputs = {"latents": self._prior.draw(batch, random)}
        if self._label_count:
            inputs["labels"] = self._labels(batch, random)
        return inputs

    def for_critic(self, batch: int, random: torch.Generator) -> dict[str, Tensor]:
        """Draw uniform pixels, or vectors with the data's mean and deviation, and uniform labels if it takes labels."""
        data = self._data
        if data.is_image:
            samples = torch.randint(0, 256, (batch, *data.sample_shape), generator=random, dtype=torch.uint8)
        else:
            normal = torch.randn(batch, *data.sample_shape, generator=random)
            samples = normal * torch.tensor(data.std) + torch.tensor(data.mean)
        inputs = {"samples": samples}
        if self._critic_uses_labels:
            inputs["labels"] = self._labels(batch, random)
        return inputs

    def _labels(self, batch: int, random: torch.Generator) -> Tensor:
        return torch.randint(0, self._label_count, (batch,), generator=random)
