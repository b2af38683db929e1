"""Layers of lucidrains/stylegan2-pytorch, a variant of StyleGAN2, with its names of weights.

N = batch, I, O = channels in and out, R = side in pixels, W = style vector w, H = heads of attention.

Other than StyleGAN2's: bilinear doubling, a style of 1 + s, plain instead of equalised weights, one noise image for all
layers, and optional linear attention.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.blocks import LEAK
from ganserve_training.networks.stylegan2_layers import modulated_conv

HEADS, HEAD_WIDTH = 8, 64
_NORM_EPSILON = 1e-5
_HALF = math.sqrt(0.5)


def double(features: Tensor) -> Tensor:
    """Double [N, C, R, R] bilinearly."""
    return F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


def blur(features: Tensor) -> Tensor:
    """Filter each channel by [1, 2, 1] / 4 along both axes; reflect the borders."""
    channels = features.shape[1]
    taps = torch.tensor([0.25, 0.5, 0.25], dtype=features.dtype)
    weight = torch.outer(taps, taps).expand(channels, 1, -1, -1)
    return F.conv2d(F.pad(features, (1, 1, 1, 1), mode="reflect"), weight, groups=channels)


class ModulatedConv(nn.Module):
    """A convolution whose weights each sample scales by 1 + its style."""

    def __init__(self, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, side, side))

    def forward(self, features: Tensor, styles: Tensor, *, demodulate: bool = True) -> Tensor:
        """Map features [N, I, R, R] and styles [N, I] to [N, O, R, R]."""
        return modulated_conv(features, self.weight, styles + 1.0, demodulate=demodulate)


class ToImage(nn.Module):
    """Adds a modulated 1 x 1 convolution to the image of the block below; doubles and blurs the sum but the last."""

    def __init__(self, inputs: int, channels: int, w_dim: int, *, doubles: bool) -> None:
        super().__init__()
        self.to_style = nn.Linear(w_dim, inputs)
        self.conv = ModulatedConv(inputs, channels, 1)
        self._doubles = doubles

    def forward(self, features: Tensor, images: Tensor | None, w: Tensor) -> Tensor:
        """Return images [N, C, R, R], or [N, C, 2 R, 2 R]."""
        made = self.conv(features, self.to_style(w), demodulate=False)
        made = made if images is None else made + images
        return blur(double(made)) if self._doubles else made


class GeneratorBlock(nn.Module):
    """One resolution: two modulated convolutions with one w, the first after doubling but in the coarsest block."""

    def __init__(self, inputs: int, outputs: int, channels: int, w_dim: int, *, first: bool, last: bool) -> None:
        super().__init__()
        self.to_style1 = nn.Linear(w_dim, inputs)
        self.to_noise1 = nn.Linear(1, outputs)
        self.conv1 = ModulatedConv(inputs, outputs, 3)
        self.to_style2 = nn.Linear(w_dim, outputs)
        self.to_noise2 = nn.Linear(1, outputs)
        self.conv2 = ModulatedConv(outputs, outputs, 3)
        self.to_rgb = ToImage(outputs, channels, w_dim, doubles=not last)
        self._first = first

    def forward(self, features: Tensor, images: Tensor | None, w: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Map features, images of the block below, w [N, W] and the noise image [N, 1, R', R'] to features, images."""
        if not self._first:
            features = double(features)
        side = features.shape[-1]
        # That code exchanges rows and columns of the noise.
        cut = noise[:, :, :side, :side].transpose(2, 3)
        for style, strength, conv in (
            (self.to_style1, self.to_noise1, self.conv1),
            (self.to_style2, self.to_noise2, self.conv2),
        ):
            added = cut * strength.weight.reshape(-1, 1, 1) + strength.bias[:, None, None]
            features = F.leaky_relu(conv(features, style(w)) + added, LEAK)
        return features, self.to_rgb(features, images, w)


class CriticBlock(nn.Module):
    """Two 3 x 3 convolutions beside a 1 x 1 one; all blocks but the last halve."""

    def __init__(self, inputs: int, outputs: int, *, halves: bool) -> None:
        super().__init__()
        stride = 2 if halves else 1
        self.conv_res = nn.Conv2d(inputs, outputs, 1, stride=stride)
        # Names and places of the weights are those of that code.
        self.net = nn.ModuleDict(
            {"0": nn.Conv2d(inputs, outputs, 3, padding=1), "2": nn.Conv2d(outputs, outputs, 3, padding=1)}
        )
        self.downsample = nn.ModuleDict({"1": nn.Conv2d(outputs, outputs, 3, padding=1, stride=2)}) if halves else None

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, I, R, R] to [N, O, R / 2, R / 2], or to [N, O, R, R]."""
        inner = features
        for conv in self.net.values():
            inner = F.leaky_relu(conv(inner), LEAK)
        if self.downsample is not None:
            inner = self.downsample["1"](blur(inner))
        made: Tensor = (inner + self.conv_res(features)) * _HALF
        return made


class _Normalised(nn.Module):
    """A function of features that are normalised over their channels, added to the features."""

    def __init__(self, width: int, function: nn.Module) -> None:
        super().__init__()
        self.fn = nn.Module()
        self.fn.norm = nn.Module()
        self.fn.norm.g = nn.Parameter(torch.empty(1, width, 1, 1))
        self.fn.norm.b = nn.Parameter(torch.empty(1, width, 1, 1))
        self.fn.fn = function

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, I, R, R] to the same shape."""
        mean = features.mean(dim=1, keepdim=True)
        variance = (features - mean).square().mean(dim=1, keepdim=True)
        scaled = (features - mean) / (variance + _NORM_EPSILON).sqrt()
        made: Tensor = self.fn.fn(scaled * self.fn.norm.g + self.fn.norm.b)  # type: ignore[operator, union-attr]
        return made + features


class LinearAttention(nn.Module):
    """Attention whose cost grows linearly with the pixels (Shen et al. 2018), over `HEADS` heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = HEADS * HEAD_WIDTH
        self.to_q = nn.Conv2d(width, inner, 1, bias=False)
        self.to_kv = nn.Module()
        self.to_kv.net = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.Conv2d(width, 2 * inner, 1, bias=False)
        )
        self.to_out = nn.Conv2d(inner, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, I, R, R] to the same shape."""
        side = features.shape[-1]

        def heads(values: Tensor) -> Tensor:  # [N, H, channels of a head, pixels]
            return values.reshape(-1, HEADS, HEAD_WIDTH, side * side)

        queries = heads(self.to_q(features)).softmax(dim=2) * HEAD_WIDTH**-0.5
        keys, values = (heads(part) for part in self.to_kv.net(features).chunk(2, dim=1))  # type: ignore[operator]
        context = keys.softmax(dim=3) @ values.transpose(2, 3)
        made = context.transpose(2, 3) @ queries
        outputs: Tensor = self.to_out(F.gelu(made.reshape(-1, HEADS * HEAD_WIDTH, side, side)))
        return outputs


def attention(width: int) -> nn.Sequential:
    """Return linear attention and two 1 x 1 convolutions, each added to its input: [N, I, R, R] to the same shape."""
    forward = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.LeakyReLU(LEAK), nn.Conv2d(2 * width, width, 1))
    return nn.Sequential(_Normalised(width, LinearAttention(width)), _Normalised(width, forward))
