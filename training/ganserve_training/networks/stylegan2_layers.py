"""Layers of StyleGAN2 (Karras et al. 2020): equalised, resampling and modulated ones.

N = batch, I = channels in, O = channels out, R = side in pixels, W = length of a style vector w, F = taps of a filter.

Weights have the names and shapes of stylegan2-ada-pytorch, so that its weights load as they are. They are stored with
variance 1 and scaled on use (equalised learning rate, Karras et al. 2017).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.blocks import LEAK

ACTIVATION_GAIN = math.sqrt(2.0)
"""Keeps the variance of leaky ReLUs."""
SKIP_GAIN = math.sqrt(0.5)
"""Keeps the variance of a sum of two branches."""
_EPSILON = 1e-8
_TAPS = (1.0, 3.0, 3.0, 1.0)


def low_pass_filter() -> Tensor:
    """Return the filter of all resampling, [1, 3, 3, 1] along both axes, with sum 1: [4, 4]."""
    taps = torch.tensor(_TAPS)
    return torch.outer(taps, taps) / taps.sum() ** 2


def activate(features: Tensor, gain: float = 1.0, clamp: float = 0.0) -> Tensor:
    """Return leaky ReLU(features) * sqrt(2) * gain, clamped to +-`clamp` * gain unless that is 0."""
    active = F.leaky_relu(features, LEAK) * (ACTIVATION_GAIN * gain)
    return active.clamp(-clamp * gain, clamp * gain) if clamp else active


def blur(features: Tensor, kernel: Tensor, *, padding: int, stride: int = 1, gain: float = 1.0) -> Tensor:
    """Filter each channel of [N, C, R, R] by the symmetric `kernel` [F, F]; return every `stride`-th pixel."""
    channels = features.shape[1]
    weight = (kernel * gain).to(features.dtype).expand(channels, 1, -1, -1)
    return F.conv2d(features, weight, stride=stride, padding=padding, groups=channels)


def double(images: Tensor, kernel: Tensor) -> Tensor:
    """Double [N, C, R, R]: put zeros between the pixels, and filter by the symmetric `kernel` [4, 4] times 4."""
    channels = images.shape[1]
    weight = (kernel * 4.0).to(images.dtype).expand(channels, 1, -1, -1)
    return F.conv_transpose2d(images, weight, stride=2, padding=1, groups=channels)


class EqualisedLinear(nn.Module):
    """A linear layer with equalised learning rate, and a leaky ReLU if `active`.

    The weights are drawn from N(0, 1) / rate and used times rate / sqrt(fan_in), biases times rate: so they learn
    at `rate` times the optimiser's.
    """

    def __init__(
        self, inputs: int, outputs: int, *, active: bool = False, rate: float = 1.0, first_bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), first_bias))
        self._active = active
        self._rate = rate
        self._gain = rate / math.sqrt(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, I] to [N, O]."""
        return self._finish(F.linear(inputs, self.weight * self._gain, self.bias * self._rate))

    def of_labels(self, labels: Tensor) -> Tensor:
        """Map labels int64 [N], as one-hot vectors [N, I], to [N, O]."""
        return self._finish((self.weight * self._gain).t()[labels] + self.bias * self._rate)

    def _finish(self, outputs: Tensor) -> Tensor:
        return activate(outputs) if self._active else outputs


class EqualisedConv(nn.Module):
    """A convolution of the critic with equalised learning rate: k x k, plain or halving, with or without activation.

    A halving one filters first, and then moves by two pixels at a time.
    """

    bias: nn.Parameter | None
    resample_filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, side: int, *, halve: bool = False, active: bool = True, clamp: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs)) if active else None
        self.register_buffer("resample_filter", low_pass_filter())
        self._gain = 1.0 / math.sqrt(inputs * side * side)
        self._halve = halve
        self._clamp = clamp

    def forward(self, features: Tensor, gain: float = 1.0) -> Tensor:
        """Map [N, I, R, R] to [N, O, R, R], or to [N, O, R / 2, R / 2]; scale the result by `gain`."""
        side = self.weight.shape[-1]
        weight = self.weight * self._gain
        if not self._halve:
            made = F.conv2d(features, weight, self.bias, padding=side // 2)
        elif side == 1:  # Filter and skip pixels at once: the convolution then has a quarter of them.
            made = F.conv2d(blur(features, self.resample_filter, padding=1, stride=2), weight, self.bias)
        else:
            made = F.conv2d(blur(features, self.resample_filter, padding=2), weight, self.bias, stride=2)
        return made * gain if self.bias is None else activate(made, gain, self._clamp)


def modulated_conv(
    features: Tensor, weight: Tensor, styles: Tensor, *, kernel: Tensor | None = None, demodulate: bool = True
) -> Tensor:
    """Convolve with weights that each sample scales by its styles (Karras et al. 2020, section 2.2).

    Scaling the inputs by the styles s, and the outputs by 1 / sqrt(sum (W s)^2 + 1e-8), equals weights of each sample,
    but needs only one convolution. So it works with any batch, and can be exported.

    Args:
        features: [N, I, R, R].
        weight: [O, I, k, k].
        styles: [N, I].
        kernel: Double the image, and filter by this [4, 4]. None: keep its size.
        demodulate: Scale the outputs.

    Returns:
        [N, O, R, R], or [N, O, 2 R, 2 R].
    """
    if features.dtype == torch.float16 and demodulate:  # Demodulation undoes both scales, which avoid overflow.
        fan_in = weight[0].numel()
        weight = weight / (weight.abs().amax(dim=(1, 2, 3), keepdim=True) * math.sqrt(fan_in))
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    made = features * styles[:, :, None, None]
    if kernel is None:
        made = F.conv2d(made, weight, padding=weight.shape[-1] // 2)
    else:
        made = F.conv_transpose2d(made, weight.transpose(0, 1), stride=2)
        made = blur(made, kernel, padding=1, gain=4.0)
    if demodulate:
        squares = F.linear(styles.square(), weight.square().sum(dim=(2, 3)))
        made = made * torch.rsqrt(squares + _EPSILON)[:, :, None, None]
    return made


class SynthesisLayer(nn.Module):
    """A modulated 3 x 3 convolution, noise, bias and leaky ReLU; a doubling one doubles the resolution."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, resolution: int, *, doubles: bool = False, clamp: float = 0.0
    ) -> None:
        super().__init__()
        self.affine = EqualisedLinear(w_dim, inputs, first_bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", low_pass_filter())
        self._doubles = doubles
        self._clamp = clamp

    def forward(self, features: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """Map features [N, I, R, R] and w [N, W] to [N, O, R, R] or [N, O, 2 R, 2 R].

        Noise is [N, 1, R, R] of the output's size; None: the layer's constant noise.
        """
        kernel = self.resample_filter if self._doubles else None
        made = modulated_conv(features, self.weight, self.affine(w), kernel=kernel)
        made = made + (self.noise_const if noise is None else noise).to(made.dtype) * self.noise_strength
        return activate(made + self.bias[:, None, None], clamp=self._clamp)


class ToImage(nn.Module):
    """A modulated 1 x 1 convolution to the image's channels, without demodulation."""

    def __init__(self, inputs: int, channels: int, w_dim: int, *, clamp: float = 0.0) -> None:
        super().__init__()
        self.affine = EqualisedLinear(w_dim, inputs, first_bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self._gain = 1.0 / math.sqrt(inputs)
        self._clamp = clamp

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        """Map features [N, I, R, R] and w [N, W] to images [N, C, R, R]."""
        styles = self.affine(w) * self._gain
        images = modulated_conv(features, self.weight, styles, demodulate=False) + self.bias[:, None, None]
        return images.clamp(-self._clamp, self._clamp) if self._clamp else images
