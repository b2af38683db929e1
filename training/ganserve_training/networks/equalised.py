"""Equalised learning rate and pixel norm of progressive growing (Karras et al. 2017, section 4)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class EqualisedLearningRate(nn.Module):
    """Parametrization that stores weights with variance 1 and scales them on use, by He et al.'s constant.

    Optimisers that divide by the gradient's size, such as Adam, then change all weights at the same relative speed.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight to use, given the stored one."""
        return weight * self.scale

    def extra_repr(self) -> str:
        """Return the text for print."""
        return f"scale={self.scale:.4g}"


def equalise(layer: nn.Module, gain: float = math.sqrt(2.0)) -> None:
    """Draw weights from N(0, 1), scale them by gain / sqrt(fan_in) on use, and set biases to zero."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    scale = gain / math.sqrt(layer.weight[0].numel())
    parametrize.register_parametrization(layer, "weight", EqualisedLearningRate(scale))


def pixel_norm(features: Tensor) -> Tensor:
    """Return each pixel's features, [N, C, …], divided by their root mean square."""
    exact = features.to(torch.promote_types(features.dtype, torch.float32))  # 1e-8 vanishes in float16.
    return features * torch.rsqrt(exact.square().mean(dim=1, keepdim=True) + 1e-8).to(features.dtype)
