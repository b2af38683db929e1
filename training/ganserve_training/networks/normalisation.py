"""Normalisation layers, conditional or not. N = batch, C = channels or units, H = height, W = width, K = labels."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.nn.utils.parametrizations import spectral_norm

from ganserve_training.networks.config import NormKind
from ganserve_training.options.checks import refusal

_Layer = TypeVar("_Layer", bound=nn.Module)


class Normalisation(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015), layer normalisation over all but the batch (Ba et al. 2016), or none.

    Args:
        kind: Batch, layer or none.
        channels: C.
        image: Features are [N, C, H, W], not [N, C].
        label_count: K, for conditional batch normalisation (de Vries et al. 2017): each label has its own gain and
            bias. 0: all labels share one.
    """

    def __init__(self, kind: NormKind, channels: int, *, image: bool, label_count: int = 0) -> None:
        super().__init__()
        self.gain: nn.Embedding | None = None
        self.bias: nn.Embedding | None = None
        self.norm: nn.Module = nn.Identity()
        if kind == "layer":
            self.norm = nn.GroupNorm(1, channels)
        elif kind == "batch":
            affine = label_count == 0
            self.norm = nn.BatchNorm2d(channels, affine=affine) if image else nn.BatchNorm1d(channels, affine=affine)
            if not affine:
                self.gain, self.bias = nn.Embedding(label_count, channels), nn.Embedding(label_count, channels)
                nn.init.ones_(self.gain.weight)
                nn.init.zeros_(self.bias.weight)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Normalise features [N, C, …], with labels int64 [N] where it is conditional."""
        normal: Tensor = self.norm(features)
        if self.gain is None or self.bias is None:
            return normal
        place = (features.shape[0], -1, *[1] * (features.ndim - 2))
        return normal * self.gain(labels).view(place) + self.bias(labels).view(place)


def absorb_batch_norm(layer: _Layer, after: nn.Module) -> _Layer:
    """Return a layer that equals `layer` followed by the batch normalisation `after` in eval mode.

    `after` keeps only the gain and bias of labels, if it is conditional. The result is `layer` itself if that is
    parametrized, or if `after` is not batch normalisation.
    """
    norm = after.norm if isinstance(after, Normalisation) else None
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or parametrize.is_parametrized(layer):
        return layer
    assert isinstance(after, Normalisation)
    after.norm = nn.Identity()
    layer, norm = layer.eval(), norm.eval()
    if norm.weight is None:  # fuse_linear_bn_eval takes no normalisation without gain and bias (torch 2.13).
        mean = norm.running_mean
        assert mean is not None
        norm.weight, norm.bias = nn.Parameter(torch.ones_like(mean)), nn.Parameter(torch.zeros_like(mean))
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    if isinstance(layer, nn.ConvTranspose2d) and layer.groups > 1:
        _fuse_grouped(layer, norm)
        return layer
    return fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, nn.ConvTranspose2d))


def _fuse_grouped(layer: nn.ConvTranspose2d, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Give a transposed convolution in groups the weights of itself followed by `norm`, which torch 2.13 can't."""
    probe = nn.ConvTranspose2d(1, layer.out_channels, 1)  # Fused, it has the gain and the offset of each channel.
    nn.init.ones_(probe.weight)
    probe.bias = layer.bias
    fused = fuse_conv_bn_eval(probe.eval(), norm, transpose=True)
    gains = fused.weight.view(layer.groups, 1, -1, 1, 1)
    grouped = layer.weight.view(layer.groups, -1, *layer.weight.shape[1:])
    layer.weight = nn.Parameter((grouped * gains).view_as(layer.weight))
    layer.bias = fused.bias


def normalise_spectrally(network: nn.Module) -> None:
    """Divide every weight of layers and projections by its largest singular value (Miyato et al. 2018).

    Each training pass makes one step of power iteration. A network without such weights is refused.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | _ConvNd)]
    if not layers:
        problem = f"is set, but a {type(network).__name__} has no linear layers or convolutions"
        raise refusal("networks.spectral_norm", "critic", problem, "Leave it out")
    for layer in layers:
        spectral_norm(layer)
    projection = getattr(network, "embedding", None)
    if isinstance(projection, nn.Embedding) and hasattr(network, "score"):
        spectral_norm(projection)
