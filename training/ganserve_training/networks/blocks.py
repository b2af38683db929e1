"""Layers and helpers that architectures share. N = batch, C = channels, H = height, W = width."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.errors import ConfigError
from ganserve_training.networks.config import OutputActivation

LEAK = 0.2


class UpsampleConv(nn.Module):
    """Doubles the resolution: nearest-neighbour upsampling, then a 3 x 3 convolution.

    Together they are a 4 x 4 transposed convolution of stride 2, into which export can fold them.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, 2 H, 2 W]."""
        return self.conv(F.interpolate(features, scale_factor=2.0, mode="nearest"))


def init_weights(module: nn.Module) -> None:
    """Initialise for leaky ReLUs (He et al. 2015), with biases of zero."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, a=LEAK, nonlinearity="leaky_relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def bound_images(images: Tensor, activation: OutputActivation) -> Tensor:
    """Apply the activation of a generator's output: images [N, C, H, W] of any values to [-1, 1], or as they are."""
    return torch.tanh(images) if activation == "tanh" else images


def resolution_levels(shape: tuple[int, ...]) -> int:
    """Return the number of doublings from `coarsest_side` to the square images (C, H, W) of 8 to 512 pixels.

    The coarsest features are 4 x 4 to 7 x 7, so that 28 pixels are 7 doubled twice; refuse sizes that need others.
    """
    if len(shape) != 3:
        problem = f"convolutional networks make images, and a sample of these data is a vector of {shape[0]} values"
        raise ConfigError(f"--networks.architecture: {problem}. Use --networks.architecture mlp.")
    _, height, width = shape
    levels = height.bit_length() - 3
    if height != width or height < 8 or height > 512 or height % (1 << levels):
        sizes = "square images of 4, 5, 6 or 7 pixels doubled, up to 512, such as 16, 28, 32, 48 or 64"
        problem = f"convolutional networks make {sizes} (got {height} x {width})"
        raise ConfigError(f"--networks.architecture: {problem}. Resize the data, for instance by --data.size 32.")
    return levels


def coarsest_side(shape: tuple[int, ...]) -> int:
    """Return the height and width of the coarsest features for images (C, H, W): 4 for powers of two, 7 for 28."""
    return shape[1] >> resolution_levels(shape)


def level_widths(width: int, max_width: int, levels: int) -> list[int]:
    """Return the channels at each of `levels + 1` resolutions, from the coarsest up; each is half of the one before."""
    return [min(width << level, max_width) for level in range(levels, -1, -1)]
