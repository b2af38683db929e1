"""What progressive growing does in place of initialisation and normalisation (Karras et al. 2017, section 4)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class EqualisedLearningRate(nn.Module):
    """Parametrization: weights are stored with variance 1 and scaled where they are used (He et al.'s constant).

    Optimisers that divide by the gradient's size, such as Adam, then move all weights at the same relative pace.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """Return the stored weight -> the one that is used."""
        return weight * self.scale

    def extra_repr(self) -> str:
        """For print."""
        return f"scale={self.scale:.4g}"


def equalise(layer: nn.Module, gain: float = math.sqrt(2.0)) -> None:
    """Weights N(0, 1), used times gain / sqrt(fan_in); biases zero."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    scale = gain / math.sqrt(layer.weight[0].numel())
    parametrize.register_parametrization(layer, "weight", EqualisedLearningRate(scale))


def pixel_norm(features: Tensor) -> Tensor:
    """Return each pixel's features, [N, C, …], divided by their root mean square."""
    exact = features.to(torch.promote_types(features.dtype, torch.float32))  # 1e-8 is nothing in float16.
    return features * torch.rsqrt(exact.square().mean(dim=1, keepdim=True) + 1e-8).to(features.dtype)
