"""StyleGAN2's critic (Karras et al. 2020, section 4): residual blocks, minibatch deviation, projection.

N = batch, C = channels of an image, I, O = channels in and out, R = side in pixels, P = length of a label's direction.
"""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from ganserve_training.networks.base import check_labels
from ganserve_training.networks.batch_statistics import MinibatchStddev
from ganserve_training.networks.blocks import level_widths
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import Shape
from ganserve_training.networks.stylegan2_layers import SKIP_GAIN, EqualisedConv, EqualisedLinear
from ganserve_training.networks.stylegan2_mapping import Mapping
from ganserve_training.networks.stylegan2_options import Stylegan2Options


class CriticBlock(nn.Module):
    """Two 3 x 3 convolutions, the second halving, beside a halving 1 x 1 one if it is residual."""

    def __init__(self, inputs: int, outputs: int, *, image_channels: int, residual: bool, clamp: float) -> None:
        super().__init__()
        self.fromrgb = EqualisedConv(image_channels, inputs, 1, clamp=clamp) if image_channels else None
        self.conv0 = EqualisedConv(inputs, inputs, 3, clamp=clamp)
        self.conv1 = EqualisedConv(inputs, outputs, 3, halve=True, clamp=clamp)
        self.skip = EqualisedConv(inputs, outputs, 1, halve=True, active=False) if residual else None

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, I, R, R], or in the first block images [N, C, R, R], to [N, O, R / 2, R / 2]."""
        if self.fromrgb is not None:
            features = self.fromrgb(features)
        inner = self.conv0(features)
        if self.skip is None:
            return self.conv1(inner)
        return self.skip(features, gain=SKIP_GAIN) + self.conv1(inner, gain=SKIP_GAIN)


class CriticEnd(nn.Module):
    """Scores features [N, I, 4, 4]: minibatch deviation, a convolution, two linear layers."""

    def __init__(self, inputs: int, projection_dim: int, stddev_group: int, *, clamp: float) -> None:
        super().__init__()
        self.mbstd = MinibatchStddev(stddev_group) if stddev_group else None
        self.conv = EqualisedConv(inputs + (1 if stddev_group else 0), inputs, 3, clamp=clamp)
        self.fc = EqualisedLinear(inputs * 16, inputs, active=True)
        self.out = EqualisedLinear(inputs, projection_dim or 1)

    def forward(self, features: Tensor, direction: Tensor | None) -> Tensor:
        """Map [N, I, 4, 4] to scores [N]: with a label's direction [N, P], sum(outputs * direction) / sqrt(P)."""
        if self.mbstd is not None:
            features = self.mbstd(features)
        outputs = self.out(self.fc(self.conv(features).flatten(1)))
        if direction is None:
            return outputs.squeeze(1)
        return (outputs * direction).sum(dim=1) / math.sqrt(direction.shape[1])


class Stylegan2Critic(nn.Module):
    """Scores images; a label becomes, by a mapping network, the direction along which features count."""

    def __init__(self, config: Stylegan2Options, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__()
        levels = config.levels(shape)
        self._label_count = conditioning.label_count if conditioning.critic == "projection" else 0
        widths = level_widths(config.critic_width, config.max_width, levels)[::-1]
        self._sides = [4 << level for level in range(levels, 0, -1)]
        for side, (inputs, outputs) in zip(self._sides, itertools.pairwise(widths), strict=True):
            block = CriticBlock(
                inputs,
                outputs,
                image_channels=shape[0] if side == self._sides[0] else 0,
                residual=config.critic_residual,
                clamp=config.activation_clamp,
            )
            self.add_module(f"b{side}", block)
        width, count = widths[-1], self._label_count
        self.mapping = Mapping(0, count, width, width, config.critic_mapping_layers) if count else None
        projection = width if count else 0
        self.b4 = CriticEnd(width, projection, config.minibatch_stddev_group, clamp=config.activation_clamp)

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map images [N, C, H, W] and labels int64 [N], if it takes them, to scores [N]."""
        check_labels(self._label_count, labels)
        features = samples
        for side in self._sides:
            features = self.get_submodule(f"b{side}")(features)
        return self.b4(features, None if self.mapping is None else self.mapping(None, labels))
