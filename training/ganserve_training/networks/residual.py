"""SNGAN's residual pair (Miyato et al. 2018, appendix B.4); for labels, conditional batch norm and projection.

N = batch, Z = latent, E = label embedding, C = channels, H = height, W = width.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.base import Critic, Generator
from ganserve_training.networks.blocks import UpsampleConv, coarsest_side, level_widths, resolution_levels
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import ImageConfig, NormConfig, NormKind, Shape, register_architecture
from ganserve_training.networks.normalisation import Normalisation, absorb_batch_norm


class UpBlock(nn.Module):
    """Adds two branches: norm, ReLU, upsampling 3 x 3, norm, ReLU, 3 x 3; and an upsampled 1 x 1."""

    def __init__(self, in_channels: int, out_channels: int, norm: NormKind, label_count: int) -> None:
        super().__init__()
        self.norm1 = Normalisation(norm, in_channels, image=True, label_count=label_count)
        self.conv1 = UpsampleConv(in_channels, out_channels)
        self.norm2 = Normalisation(norm, out_channels, image=True, label_count=label_count)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, 2 H, 2 W]."""
        inner = self.conv1(F.relu(self.norm1(features, labels)))
        inner = self.conv2(F.relu(self.norm2(inner, labels)))
        # A 1 x 1 convolution commutes with repeating pixels, and costs a quarter before it.
        outer = F.interpolate(self.shortcut(features), scale_factor=2.0, mode="nearest")
        return inner + outer

    def for_inference(self) -> UpBlock:
        """Return a copy whose first convolution absorbs the second batch normalisation."""
        block = copy.deepcopy(self).eval()
        block.conv1.conv = absorb_batch_norm(block.conv1.conv, block.norm2)
        return block


class DownBlock(nn.Module):
    """Adds two branches: norm, ReLU, 3 x 3, norm, ReLU, 3 x 3; and a 1 x 1. Average pooling halves both.

    The `first` block, at the image, has no norm and no ReLU before its first convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: NormKind, *, first: bool = False, halve: bool = True
    ) -> None:
        super().__init__()
        self._first, self._halve = first, halve
        self.norm1 = Normalisation("none" if first else norm, in_channels, image=True)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = Normalisation(norm, out_channels, image=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        learned = halve or in_channels != out_channels
        self.shortcut: nn.Module = nn.Conv2d(in_channels, out_channels, 1) if learned else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, H / 2, W / 2], or [N, C_out, H, W] without halving."""
        inner = features if self._first else F.relu(self.norm1(features))
        inner = self.conv2(F.relu(self.norm2(self.conv1(inner))))
        if not self._halve:
            return inner + self.shortcut(features)
        return F.avg_pool2d(inner, 2) + self.shortcut(F.avg_pool2d(features, 2))


class ResidualGenerator(Generator):
    """Projects the latent to the coarsest features, then doubles them by residual blocks; tanh at the end."""

    def __init__(self, config: ResidualConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, conditioning)
        levels = resolution_levels(shape)
        widths = level_widths(config.generator_width, config.max_width, levels)
        norm = config.norms[0]
        self.side = coarsest_side(shape)
        self.stem = nn.Linear(self.input_dim, widths[0] * self.side**2)
        self.blocks = nn.ModuleList(UpBlock(widths[i], widths[i + 1], norm, self.norm_labels) for i in range(levels))
        self.norm = Normalisation(norm, widths[-1], image=True)
        self.to_image = nn.Conv2d(widths[-1], shape[0], 3, padding=1)
        _init_weights(self)

    def generate(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        """Map [N, Z + E] to images [N, C, H, W] in [-1, 1]."""
        features = self.stem(inputs).view(inputs.shape[0], -1, self.side, self.side)
        for block in self.blocks:
            features = block(features, labels)
        return torch.tanh(self.to_image(F.relu(self.norm(features))))


class ResidualCritic(Critic):
    """Halves the image by residual blocks to 4 to 7 pixels, adds one more block, and sums over all pixels."""

    def __init__(self, config: ResidualConfig, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__(config, shape, conditioning)
        levels = resolution_levels(shape)
        widths = [self.input_channels, *level_widths(config.critic_width, config.max_width, levels)[-2::-1]]
        norm = config.norms[1]
        self.blocks = nn.ModuleList(DownBlock(widths[i], widths[i + 1], norm, first=i == 0) for i in range(levels))
        self.last = DownBlock(widths[-1] + self.extra_channels, widths[-1], norm, halve=False)
        self.add_heads(widths[-1], _init_weights)

    def extract(self, samples: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, coarsest width]."""
        features = samples
        for block in self.blocks:
            features = block(features)
        return F.relu(self.last(self.compare(features))).sum(dim=(2, 3))


@register_architecture
@dataclass(frozen=True, kw_only=True)
class ResidualConfig(ImageConfig, NormConfig):
    """SNGAN's residual blocks (Miyato et al. 2018), for square images of 8 to 512 pixels."""

    architecture = "residual"
    players = (ResidualGenerator, ResidualCritic)

    @property
    def conditions_by_norm(self) -> bool:
        """True with batch normalisation, as in the paper."""
        return self.norms[0] == "batch"


def _init_weights(network: nn.Module) -> None:
    """Initialise as Glorot (uniform), with a gain of sqrt 2 within residual branches, as the authors' code does."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            in_branch = "conv1" in name or "conv2" in name
            nn.init.xavier_uniform_(module.weight, gain=2.0**0.5 if in_branch else 1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
