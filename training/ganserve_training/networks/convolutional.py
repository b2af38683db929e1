"""A small pair without normalisation layers, for square images.

N = batch, Z = latent, E = label embedding, C = channels, H = height, W = width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.base import Critic, Generator
from ganserve_training.networks.blocks import (
    LEAK,
    UpsampleConv,
    coarsest_side,
    init_weights,
    level_widths,
    resolution_levels,
)
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import Shape, SpectralNormConfig, UnnormalisedConfig, register_architecture


class ConvolutionalGenerator(Generator):
    """Projects the latent to the coarsest features, then doubles them up to the image."""

    def __init__(self, config: ConvolutionalConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, conditioning)
        levels = resolution_levels(shape)
        widths = level_widths(config.generator_width, config.max_width, levels)
        self.side = coarsest_side(shape)
        self.stem = nn.Linear(self.input_dim, widths[0] * self.side**2)
        self.upsample = nn.ModuleList(UpsampleConv(widths[i], widths[i + 1]) for i in range(levels))
        self.refine = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in widths[1:])
        self.to_image = nn.Conv2d(widths[-1], shape[0], 3, padding=1)
        init_weights(self)

    def generate(self, inputs: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002 - concatenated already
        """Map [N, Z + E] to images [N, C, H, W] in [-1, 1]."""
        features = F.leaky_relu(self.stem(inputs), LEAK).view(inputs.shape[0], -1, self.side, self.side)
        for upsample, refine in zip(self.upsample, self.refine, strict=True):
            features = F.leaky_relu(upsample(features), LEAK)
            features = F.leaky_relu(refine(features), LEAK)
        return torch.tanh(self.to_image(features))


class ConvolutionalCritic(Critic):
    """Halves the image down to the coarsest features, then applies one hidden layer."""

    def __init__(self, config: ConvolutionalConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, shape, conditioning)
        levels = resolution_levels(shape)
        widths = level_widths(config.critic_width, config.max_width, levels)[::-1]
        self.from_image = nn.Conv2d(self.input_channels, widths[0], 3, padding=1)
        self.downsample = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 4, stride=2, padding=1) for i in range(levels)
        )
        self.features = nn.Linear((widths[-1] + self.extra_channels) * coarsest_side(shape) ** 2, widths[-1])
        self.add_heads(widths[-1], init_weights)

    def extract(self, samples: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, coarsest width]."""
        features = F.leaky_relu(self.from_image(samples), LEAK)
        for downsample in self.downsample:
            features = F.leaky_relu(downsample(features), LEAK)
        return F.leaky_relu(self.features(self.compare(features).flatten(1)), LEAK)


@register_architecture
@dataclass(frozen=True, kw_only=True)
class ConvolutionalConfig(UnnormalisedConfig, SpectralNormConfig):
    """Plain convolutions without normalisation, for square images of 8 to 512 pixels."""

    architecture = "convolutional"
    players = (ConvolutionalGenerator, ConvolutionalCritic)
