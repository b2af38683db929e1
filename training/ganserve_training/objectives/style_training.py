"""Style-based generators in training: style mixing and noise (Karras et al. 2019), path length (Karras et al. 2020).

N = batch, Z = latent, L = layers that take a style vector w, W = its length, C, H = channels and side of an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganserve_training.networks.config import NetworksConfig
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.networks.stylegan2 import Stylegan2Config, Stylegan2Generator
from ganserve_training.networks.stylegan2_mapping import mix_styles
from ganserve_training.options.checks import expect, expect_at_least, expect_not_negative, refusal
from ganserve_training.run.random_state import Noise


@dataclass(frozen=True, kw_only=True, slots=True)
class PathLengthConfig:
    """Path-length regularisation of a style-based generator (Karras et al. 2020, section 3.2).

    It has updates of its own, with Adam's rate and betas adjusted for them.
    """

    weight: float = 0.0
    """Weight of the penalty; the paper uses 2. 0: off."""
    interval: int = 4
    """Compute the penalty once in this many steps, and multiply it by that number."""
    decay: float = 0.01
    """Weight of the newest mean length in the running mean, which is the penalty's target."""

    def __post_init__(self) -> None:
        path = "regularisers.path_length"
        expect_not_negative(f"{path}.weight", self.weight)
        expect_at_least(1, self, path, "interval")
        expect(0.0 < self.decay <= 1.0, f"{path}.decay", self.decay, "above 0 and at most 1")
        for name, default in (("interval", 4), ("decay", 0.01)):
            value = getattr(self, name)
            if self.weight == 0.0 and value != default:
                fix = "Add --regularisers.path-length.weight 2, as in the paper"
                raise refusal(f"{path}.{name}", value, "has no effect while the penalty's weight is 0", fix)

    @property
    def lazy_interval(self) -> int:
        """Steps between updates by the penalty; 0: there are none."""
        return self.interval if self.weight else 0


class StyledGenerator:
    """A style-based generator with the random inputs of training: second latents to mix with, and fresh noise.

    With probability `style_mixing`, a sample takes the w's of a random layer and those after it from a second latent.
    """

    def __init__(self, generator: Stylegan2Generator, config: Stylegan2Config, noise: Noise) -> None:
        self._generator = generator
        self._mixing = config.style_mixing
        self._prior = LatentPrior.of(config)
        self._noise = noise

    @classmethod
    def of(cls, generator: nn.Module, config: NetworksConfig, noise: Noise) -> StyledGenerator | None:
        """Return the generator with the inputs of training; None: it is not style-based."""
        if not isinstance(config, Stylegan2Config):
            return None
        assert isinstance(generator, Stylegan2Generator)
        return cls(generator, config, noise)

    def __call__(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Map latents [N, Z] and labels int64 [N] to images [N, C, H, H]."""
        return self.images(self.styles(latents, labels))

    def styles(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Map latents [N, Z] and labels int64 [N] to the w's of all layers, [N, L, W]."""
        generator, noise, count = self._generator, self._noise, len(latents)
        w = generator.map(latents, labels)
        if self._mixing == 0.0:
            return w[:, None].repeat(1, generator.layers, 1)
        second = generator.map(noise.latents(self._prior, count), labels, track=False)
        first_layer = noise.integers(1, generator.layers, count)
        mixes = noise.uniform(count) < self._mixing
        layers = torch.arange(generator.layers, device=w.device)
        share = (layers >= first_layer[:, None]) & mixes[:, None]
        return mix_styles(w, second, share.to(w.dtype))

    def images(self, styles: Tensor) -> Tensor:
        """Map w's [N, L, W] to images [N, C, H, H], with fresh noise."""
        sides = self._generator.synthesis.noise_sides
        images: Tensor = self._generator.synthesis(styles, [self._noise.normal(len(styles), 1, n, n) for n in sides])
        return images


class PathLength:
    """weight * E (|J^T y| - a)^2, J = d image / d w's, y ~ N(0, 1) / H, a the running mean of |J^T y|.

    |.| is the root of the mean, over layers, of squared norms.
    """

    def __init__(self, config: PathLengthConfig, device: torch.device) -> None:
        self.config = config
        self.mean = torch.zeros((), device=device)
        """a."""

    def penalty(self, styles: Tensor, images: Tensor, noise: Noise) -> Tensor:
        """Return the weighted penalty, a scalar, and move the mean.

        Args:
            styles: w's [N, L, W], of which the images have a graph.
            images: [N, C, H, H].
            noise: Gives y.
        """
        direction = noise.normal(*images.shape) / math.sqrt(images.shape[2] * images.shape[3])
        (gradient,) = torch.autograd.grad((images * direction).sum(), styles, create_graph=True)
        lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        target = self.mean.lerp(lengths.mean(), self.config.decay)
        self.mean.copy_(target.detach())
        return (lengths - target).square().mean() * self.config.weight
