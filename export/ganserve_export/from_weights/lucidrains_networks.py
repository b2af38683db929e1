"""Networks of lucidrains/stylegan2-pytorch, with what a style-based graph asks of a generator.

N = batch, Z = latent, W = style vector w, L = levels, each with a w, C, H = channels and side of an image.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_export.from_weights.lucidrains_layers import CriticBlock, GeneratorBlock, attention
from ganserve_training.networks.blocks import LEAK


class MappingNetwork(nn.Module):
    """Maps latents to w's: fully connected layers on normalised latents."""

    w_avg: Tensor

    def __init__(self, widths: Sequence[int], rate: float) -> None:
        super().__init__()
        # Every second place holds an activation, as in that code.
        self.net = nn.ModuleDict(
            {str(2 * index): nn.Linear(inputs, outputs) for index, (inputs, outputs) in enumerate(pairwise(widths))}
        )
        self.register_buffer("w_avg", torch.zeros(widths[-1]))
        self._rate = rate

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to w [N, W]."""
        values = F.normalize(latents, dim=1)
        for layer in self.net.values():
            assert isinstance(layer, nn.Linear)
            values = F.leaky_relu(F.linear(values, layer.weight * self._rate, layer.bias * self._rate), LEAK)
        return values


class Synthesis(nn.Module):
    """Makes images from w's, one for each level, and one noise image for all layers."""

    noise: Tensor

    def __init__(
        self, widths: Sequence[int], channels: int, w_dim: int, attended: frozenset[int], *, from_w: bool
    ) -> None:
        super().__init__()
        self.layers = len(widths) - 1
        """L."""
        self.side = 2 << self.layers
        """H."""
        if from_w:  # The first features are made from w in place of a learned constant.
            self.to_initial_block = nn.Module()
            self.to_initial_block.weight = nn.Parameter(torch.empty(w_dim, widths[0], 4, 4))
        else:
            self.initial_block = nn.Parameter(torch.empty(1, widths[0], 4, 4))
        self.initial_conv = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        last = self.layers - 1
        self.blocks = nn.ModuleList(
            GeneratorBlock(widths[index], widths[index + 1], channels, w_dim, first=index == 0, last=index == last)
            for index in range(self.layers)
        )
        self.attns = nn.ModuleDict({str(index): attention(widths[index]) for index in sorted(attended)})
        self.register_buffer("noise", torch.zeros(self.side, self.side))
        self._from_w = from_w

    @property
    def noise_sides(self) -> tuple[int, ...]:
        """Return the side of the noise image."""
        return (self.side,)

    @property
    def constant_noise(self) -> list[Tensor]:
        """Return the constant noise, [H, H]."""
        return [self.noise]

    def forward(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Map w's [N, L, W] to images [N, C, H, H], about in [-1, 1]; the normal noise [N, 1, H, H] becomes uniform."""
        normal = self.noise[None, None] if noise is None else noise[0]
        uniform = 0.5 + 0.5 * torch.erf(normal * math.sqrt(0.5))  # in 0 to 1, as that code draws it
        if self._from_w:
            weight: Tensor = self.to_initial_block.weight  # type: ignore[assignment]
            features = (styles.mean(dim=1) @ weight.flatten(1)).reshape(-1, *weight.shape[1:])
        else:
            features = self.initial_block.expand(styles.shape[0], -1, -1, -1)
        features = self.initial_conv(features)
        images = None
        for index, block in enumerate(self.blocks):
            if str(index) in self.attns:
                features = self.attns[str(index)](features)
            features, images = block(features, images, styles[:, index], uniform)
        assert isinstance(images, Tensor)
        return images * 2.0 - 1.0  # That code's images are in 0 to 1.


class Generator(nn.Module):
    """Maps latents to w's, and those to images."""

    label_count = 0

    def __init__(self, mapping: MappingNetwork, synthesis: Synthesis, latent_dim: int) -> None:
        super().__init__()
        self.mapping = mapping
        self.synthesis = synthesis
        self.latent_dim = latent_dim
        self.w_dim = mapping.w_avg.shape[0]
        self.layers = synthesis.layers

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Map latents [N, Z] to images [N, C, H, H], with constant noise; there are no labels."""
        images: Tensor = self.synthesis(self.map(latents)[:, None].expand(-1, self.layers, -1))
        return images

    def map(self, latents: Tensor, labels: Tensor | None = None, *, track: bool = True) -> Tensor:  # noqa: ARG002
        """Map latents [N, Z] to w [N, W]."""
        w: Tensor = self.mapping(latents)
        return w


class Critic(nn.Module):
    """Scores images. Real ones get higher scores, other than in that code's hinge loss, if `sign` is -1."""

    def __init__(self, widths: Sequence[int], attended: frozenset[int], sign: float) -> None:
        super().__init__()
        last = len(widths) - 2
        self.blocks = nn.ModuleList(
            CriticBlock(widths[index], widths[index + 1], halves=index < last) for index in range(last + 1)
        )
        self.attn_blocks = nn.ModuleDict({str(index): attention(widths[index + 1]) for index in sorted(attended)})
        self.final_conv = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.to_logit = nn.Linear(4 * widths[-1], 1)
        self.sign = sign

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Map images [N, C, H, H] in [-1, 1] to scores [N]; there are no labels."""
        features = samples * 0.5 + 0.5
        for index, block in enumerate(self.blocks):
            features = block(features)
            if str(index) in self.attn_blocks:
                features = self.attn_blocks[str(index)](features)
        logits: Tensor = self.to_logit(self.final_conv(features).flatten(1))
        return logits.squeeze(1) * self.sign


def load(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network without values these, and its other buffers' from their own names."""
    network.load_state_dict(dict(tensors), assign=True)
    network.eval().requires_grad_(False)
