"""StyleGAN2's generator (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"), and its options.

N = batch, Z = latent, W = length of a style vector w, L = layers that take one, C, H = channels and side of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganserve_training.networks.base import check_labels
from ganserve_training.networks.blocks import bound_images, level_widths
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import Shape, register_architecture
from ganserve_training.networks.stylegan2_critic import Stylegan2Critic
from ganserve_training.networks.stylegan2_layers import SynthesisLayer, ToImage, double, low_pass_filter
from ganserve_training.networks.stylegan2_mapping import Mapping
from ganserve_training.networks.stylegan2_options import Stylegan2Options


class SynthesisBlock(nn.Module):
    """One resolution: modulated convolutions, the first one doubling, and an image that is added to the one below."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, channels: int, w_dim: int, side: int, clamp: float) -> None:
        super().__init__()
        self.register_buffer("resample_filter", low_pass_filter())
        if inputs:
            self.conv0 = SynthesisLayer(inputs, outputs, w_dim, side, doubles=True, clamp=clamp)
        else:  # The coarsest block begins with a learned constant.
            self.const = nn.Parameter(torch.randn(outputs, side, side))
        self.conv1 = SynthesisLayer(outputs, outputs, w_dim, side, clamp=clamp)
        self.torgb = ToImage(outputs, channels, w_dim, clamp=clamp)
        self.layers = 2 if inputs else 1
        """Number of convolutions, each with a w and a noise."""

    def forward(
        self, features: Tensor | None, images: Tensor | None, styles: Sequence[Tensor], noise: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """Map features and images of the block below, w's [N, W] and noises to features and images, twice as large.

        The last w is the image's.
        """
        if features is None:
            features = self.const.expand(styles[0].shape[0], -1, -1, -1)
        else:
            features = self.conv0(features, styles[0], noise[0])
        features = self.conv1(features, styles[-2], noise[-1])
        made = self.torgb(features, styles[-1])
        return features, made if images is None else double(images, self.resample_filter) + made


class Synthesis(nn.Module):
    """Makes images from w's: blocks `b4`, `b8`, … up to the image's side."""

    def __init__(self, config: Stylegan2Options, shape: Shape) -> None:
        super().__init__()
        levels = config.levels(shape)
        widths = [0, *level_widths(config.generator_width, config.max_width, levels)]
        self._blocks: list[str] = []
        for level in range(levels + 1):
            side, inputs, outputs = 4 << level, widths[level], widths[level + 1]
            block = SynthesisBlock(inputs, outputs, shape[0], config.w_dim, side, config.activation_clamp)
            self.add_module(f"b{side}", block)
            self._blocks.append(f"b{side}")
        self.output_activation = config.output_activation
        self.layers = 2 * levels + 2
        """L: number of w's. The image of a block takes the same w as the first convolution of the next."""
        self.noise_sides = tuple(4 << level for level in range(levels + 1) for _ in range(2 if level else 1))
        """Side, in pixels, of the noise of each convolution."""

    def forward(self, styles: Tensor, noise: Sequence[Tensor | None] | None = None) -> Tensor:
        """Map w's [N, L, W] to images [N, C, H, H].

        `noise` has a [N, 1, side, side] for each of `noise_sides`; None, or a None among them: constant noise.
        """
        given = list(noise) if noise is not None else [None] * len(self.noise_sides)
        features = images = None
        first = 0
        for name in self._blocks:
            block = self.get_submodule(name)
            assert isinstance(block, SynthesisBlock)
            last = first + block.layers
            features, images = block(features, images, styles[:, first : last + 1].unbind(dim=1), given[first:last])
            first = last
        assert images is not None
        return bound_images(images, self.output_activation)

    @property
    def constant_noise(self) -> list[Tensor]:
        """The constant noise of each convolution, [side, side]."""
        return [layer.noise_const for layer in self.modules() if isinstance(layer, SynthesisLayer)]


class Stylegan2Generator(nn.Module):
    """Maps latents to w's, and those to images about in [-1, 1], without tanh unless asked for."""

    def __init__(self, config: Stylegan2Options, shape: Shape, conditioning: Conditioning) -> None:
        super().__init__()
        self.latent_dim = config.latent_dim
        self.label_count = conditioning.label_count if conditioning.generator == "concatenation" else 0
        self.w_dim = config.w_dim
        """W."""
        self.synthesis = Synthesis(config, shape)
        self.mapping = Mapping(
            config.latent_dim,
            self.label_count,
            config.w_dim,
            config.w_dim,
            config.mapping_layers,
            config.w_average_decay,
        )

    @property
    def layers(self) -> int:
        """L: number of w's of an image."""
        return self.synthesis.layers

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents [N, Z] and labels int64 [N], if conditional, to images [N, C, H, H], with constant noise.

        Training and export call `map` and `synthesis`, to mix and truncate w's and to give noise.
        """
        w = self.map(latents, labels)
        return self.synthesis(w[:, None].expand(-1, self.layers, -1))

    def map(self, latents: Tensor, labels: Tensor | None = None, *, track: bool = True) -> Tensor:
        """Map latents [N, Z] and labels int64 [N] to w [N, W]; in training, update the mean of w if `track`."""
        check_labels(self.label_count, labels)
        return self.mapping(latents, labels, track=track)


@register_architecture
@dataclass(frozen=True, kw_only=True)
class Stylegan2Config(Stylegan2Options):
    """Style-based networks with a mapping network and noise (Karras et al. 2020), for images of 8 to 1024 pixels.

    The side must be a power of two.
    """

    architecture = "stylegan2"
    players = (Stylegan2Generator, Stylegan2Critic)
    has_styles = True
