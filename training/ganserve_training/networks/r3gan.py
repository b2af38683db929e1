"""R3GAN's pair (Huang et al. 2024, "The GAN is dead; long live the GAN!"): residual blocks without normalisation.

N = batch, Z = latent, E = label embedding, C = channels, H = height, W = width, L = residual blocks of a network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.base import Critic, Generator
from ganserve_training.networks.blocks import LEAK, bound_images, coarsest_side, level_widths, resolution_levels
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import OpenOutputConfig, Shape, UnnormalisedConfig, register_architecture
from ganserve_training.options.checks import refusal

EXPANSION = 2
_Layer = TypeVar("_Layer", nn.Conv2d, nn.Linear)
_LEAKY_GAIN = math.sqrt(2.0 / (1.0 + LEAK**2))


class Block(nn.Module):
    """Computes x + conv 1x1 (act (grouped conv 3x3 (act (conv 1x1 (x))))), twice as wide inside; act is a leaky ReLU.

    The last convolution starts at zero, so that the block starts as the identity; the other two are scaled by L^-1/4
    (Fixup, Zhang et al. 2019).
    """

    def __init__(self, channels: int, group_size: int, block_count: int) -> None:
        super().__init__()
        inner = channels * EXPANSION
        groups = inner // group_size if inner > group_size else 1
        if inner > group_size and inner % group_size:
            problem = f"does not divide the {inner} inner channels of a block, twice its {channels}"
            widths = f"multiples of {max(group_size // EXPANSION, 1)}"
            fix = f"Use a --networks.generator-width and --networks.critic-width that are {widths}"
            raise refusal("networks.group_size", group_size, problem, fix)
        self.widen = nn.Conv2d(channels, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=groups)
        self.narrow = nn.Conv2d(inner, channels, 1, bias=False)
        for conv in (self.widen, self.mix):
            _init_weight(conv, _LEAKY_GAIN * block_count**-0.25)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        inner = F.leaky_relu(self.widen(features), LEAK)
        inner = F.leaky_relu(self.mix(inner), LEAK)
        return features + self.narrow(inner)


class Resample(nn.Module):
    """Doubles or halves the resolution by the filter [1, 2, 1] along both axes, and changes the channels if needed.

    Doubling puts a zero beside each pixel and filters, which is linear interpolation; halving is its adjoint: filter,
    then every second pixel.
    """

    kernel: Tensor

    def __init__(self, in_channels: int, out_channels: int, *, double: bool) -> None:
        super().__init__()
        self._double = double
        self.conv: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.conv = _init_weight(nn.Conv2d(in_channels, out_channels, 1, bias=False), 1.0)
        taps = torch.tensor([1.0, 2.0, 1.0]) / (2.0 if double else 4.0)
        channels = out_channels if double else in_channels
        self.register_buffer("kernel", torch.outer(taps, taps).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, 2 H, 2 W] or [N, C_out, H / 2, W / 2]."""
        kernel = self.kernel.to(features.dtype)
        if self._double:
            narrow = self.conv(features)  # At the lower resolution it costs a quarter.
            return F.conv_transpose2d(narrow, kernel, stride=2, padding=1, output_padding=1, groups=kernel.shape[0])
        return self.conv(F.conv2d(features, kernel, stride=2, padding=1, groups=kernel.shape[0]))


class R3ganGenerator(Generator):
    """Scales learned coarse features by the latent, then doubles them, without normalisation."""

    def __init__(self, config: R3ganConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, conditioning)
        levels = resolution_levels(shape)
        widths = level_widths(config.generator_width, config.max_width, levels)
        self.basis = nn.Parameter(torch.randn(1, widths[0], *[coarsest_side(shape)] * 2))
        self.modulation = _init_weight(nn.Linear(self.input_dim, widths[0], bias=False), 1.0)
        self.blocks = nn.ModuleList(_blocks(config, width, levels) for width in widths)
        self.resample = nn.ModuleList(Resample(widths[i], widths[i + 1], double=True) for i in range(levels))
        self.to_image = _init_weight(nn.Conv2d(widths[-1], shape[0], 1, bias=False), 1.0)
        self.output_activation = config.output_activation

    def generate(self, inputs: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002 - concatenated already
        """Map [N, Z + E] to images [N, C, H, W]."""
        features = self.blocks[0](self.basis * self.modulation(inputs)[:, :, None, None])
        for resample, blocks in zip(self.resample, self.blocks[1:], strict=True):
            features = blocks(resample(features))
        return bound_images(self.to_image(features), self.output_activation)


class R3ganCritic(Critic):
    """Halves the image to 4 to 7 pixels, then applies a depthwise convolution of that size and a linear layer."""

    def __init__(self, config: R3ganConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, shape, conditioning)
        levels = resolution_levels(shape)
        widths = level_widths(config.critic_width, config.max_width, levels)[::-1]
        self.from_image = _init_weight(nn.Conv2d(self.input_channels, widths[0], 1, bias=False), 1.0)
        self.blocks = nn.ModuleList(_blocks(config, width, levels) for width in widths)
        self.resample = nn.ModuleList(Resample(widths[i], widths[i + 1], double=False) for i in range(levels))
        width = widths[-1] + self.extra_channels
        self.basis = _init_weight(nn.Conv2d(width, width, coarsest_side(shape), groups=width, bias=False), 1.0)
        self.add_heads(width, partial(_init_weight, gain=1.0), each=True)

    def extract(self, samples: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, coarsest width]."""
        features = self.from_image(samples)
        for blocks, resample in zip(self.blocks, self.resample, strict=False):
            features = resample(blocks(features))
        features = self.compare(self.blocks[-1](features))
        return self.basis(features).flatten(1)


@register_architecture
@dataclass(frozen=True, kw_only=True)
class R3ganConfig(UnnormalisedConfig, OpenOutputConfig):
    """Residual blocks without normalisation (Huang et al. 2024), for square images of 8 to 512 pixels."""

    architecture = "r3gan"
    players = (R3ganGenerator, R3ganCritic)

    blocks_per_level: int = 1
    """Residual blocks at each resolution; the paper uses 2."""
    group_size: int = 16
    """Channels in each group of the grouped 3 x 3 convolutions; the paper uses 16."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect_positive("blocks_per_level", "group_size")


def _blocks(config: R3ganConfig, width: int, levels: int) -> nn.Sequential:
    count = config.blocks_per_level * (levels + 1)
    return nn.Sequential(*(Block(width, config.group_size, count) for _ in range(config.blocks_per_level)))


def _init_weight(layer: _Layer, gain: float) -> _Layer:
    """Draw weights from N(0, gain^2 / fan_in), and set biases to zero."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
