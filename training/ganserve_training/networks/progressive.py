"""Progressive growing's pair (Karras et al. 2017): both players start with tiny images, and fade in each new level.

N = batch, Z = latent, E = label embedding, C = channels, H = height, W = width,
S = the coarsest side, 4 to 7 pixels. At level L images have S * 2^L pixels.
"""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.base import Critic, Generator
from ganserve_training.networks.blocks import (
    LEAK,
    UpsampleConv,
    bound_images,
    coarsest_side,
    level_widths,
    resolution_levels,
)
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import OpenOutputConfig, Shape, UnnormalisedConfig, register_architecture
from ganserve_training.networks.equalised import equalise, pixel_norm
from ganserve_training.networks.growth import GrowthConfig
from ganserve_training.networks.growth_state import GrowthState


class UpBlock(nn.Module):
    """One level of the generator: nearest-neighbour doubling and two 3 x 3 convolutions, pixel norm after each."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.upsample = UpsampleConv(in_channels, out_channels)
        self.refine = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        equalise(self.upsample.conv)
        equalise(self.refine)

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, 2 H, 2 W]."""
        features = _activate(self.upsample(features))
        return _activate(self.refine(features))


class DownBlock(nn.Module):
    """One level of the critic: two 3 x 3 convolutions and average pooling."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.refine = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.widen = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        equalise(self.refine)
        equalise(self.widen)

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, H / 2, W / 2]."""
        features = F.leaky_relu(self.refine(features), LEAK)
        return F.avg_pool2d(F.leaky_relu(self.widen(features), LEAK), 2)


class ProgressiveGenerator(Generator):
    """Makes images of S * 2^L pixels at level L."""

    def __init__(self, config: ProgressiveConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, conditioning)
        self.phase = GrowthState(resolution_levels(shape), coarsest_side(shape))
        widths = level_widths(config.generator_width, config.max_width, self.phase.final_level)
        self.stem = nn.Linear(self.input_dim, widths[0] * self.phase.first_side**2)
        equalise(self.stem, gain=math.sqrt(2.0) / 4.0)  # As the authors' code: fan_in of a 4 x 4 convolution.
        self.refine = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        equalise(self.refine)
        self.blocks = nn.ModuleList(UpBlock(inputs, outputs) for inputs, outputs in itertools.pairwise(widths))
        self.to_image = nn.ModuleList(nn.Conv2d(width, shape[0], 1) for width in widths)
        for layer in self.to_image:
            equalise(layer, gain=1.0)
        self.output_activation = config.output_activation

    def generate(self, inputs: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002 - concatenated already
        """Map [N, Z + E] to images [N, C, S * 2^L, S * 2^L], about in [-1, 1]."""
        level = self.phase.level
        side = self.phase.first_side
        features = _activate(self.stem(pixel_norm(inputs)).view(inputs.shape[0], -1, side, side))
        features = _activate(self.refine(features))
        return bound_images(self._images(features, level), self.output_activation)

    def _images(self, features: Tensor, level: int) -> Tensor:
        """Map the coarsest features to images at `level`, which may fade in."""
        for block in self.blocks[: max(level - 1, 0)]:
            features = block(features)
        if level == 0:
            return self._to_image(features, 0)
        images = self._to_image(self.blocks[level - 1](features), level)
        if self.phase.fading:
            before = F.interpolate(self._to_image(features, level - 1), scale_factor=2.0, mode="nearest")
            images = torch.lerp(before, images, self.phase.alpha)
        return images

    def _to_image(self, features: Tensor, level: int) -> Tensor:
        # Count from the last: a grown network keeps only that one.
        return self.to_image[level - self.phase.final_level - 1](features)

    def for_inference(self) -> ProgressiveGenerator:
        """Return a copy without the image layers of lower levels; raise UnfinishedNetworkError while it grows."""
        self.phase.check_grown()
        grown = copy.deepcopy(self)
        grown.to_image = grown.to_image[-1:]
        return grown


class ProgressiveCritic(Critic):
    """Takes images of S * 2^L pixels at level L."""

    def __init__(self, config: ProgressiveConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, shape, conditioning)
        self.phase = GrowthState(resolution_levels(shape), coarsest_side(shape))
        widths = level_widths(config.critic_width, config.max_width, self.phase.final_level)
        self.from_image = nn.ModuleList(nn.Conv2d(self.input_channels, width, 1) for width in widths)
        self.blocks = nn.ModuleList(DownBlock(inputs, outputs) for outputs, inputs in itertools.pairwise(widths))
        self.refine = nn.Conv2d(widths[0] + self.extra_channels, widths[0], 3, padding=1)
        self.features = nn.Linear(widths[0] * self.phase.first_side**2, widths[0])
        for layer in (*self.from_image, self.refine, self.features):
            equalise(layer)
        self.add_heads(widths[0], partial(equalise, gain=1.0), each=True)

    def extract(self, samples: Tensor) -> Tensor:
        """Map [N, C, S * 2^L, S * 2^L] to [N, coarsest width]."""
        level = self.phase.level
        side = self.phase.side
        if samples.shape[-2:] != (side, side):
            raise ValueError(f"at level {level} this critic takes images of {side} x {side} (got {samples.shape[-2:]})")
        features = self._from_image(samples, level)
        if level > 0:
            features = self.blocks[level - 1](features)
        if self.phase.fading:
            before = self._from_image(F.avg_pool2d(samples, 2), level - 1)
            features = torch.lerp(before, features, self.phase.alpha)
        for index in range(level - 2, -1, -1):
            features = self.blocks[index](features)
        features = F.leaky_relu(self.refine(self.compare(features)), LEAK)
        return F.leaky_relu(self.features(features.flatten(1)), LEAK)

    def _from_image(self, images: Tensor, level: int) -> Tensor:
        # Count from the last: a grown network keeps only that one.
        return F.leaky_relu(self.from_image[level - self.phase.final_level - 1](images), LEAK)

    def for_inference(self) -> ProgressiveCritic:
        """Return a copy without the image layers of lower levels; raise UnfinishedNetworkError while it grows."""
        self.phase.check_grown()
        grown = copy.deepcopy(self)
        grown.from_image = grown.from_image[-1:]
        return grown


@register_architecture
@dataclass(frozen=True, kw_only=True)
class ProgressiveConfig(UnnormalisedConfig, OpenOutputConfig, GrowthConfig):
    """Grown from 4 x 4, or from 7 x 7 for 28 pixels (Karras et al. 2017), for square images of 8 to 512 pixels."""

    architecture = "progressive"
    players = (ProgressiveGenerator, ProgressiveCritic)
    grows = True


def _activate(features: Tensor) -> Tensor:
    return pixel_norm(F.leaky_relu(features, LEAK))
