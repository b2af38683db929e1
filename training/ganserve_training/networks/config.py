"""Options that architectures share; each architecture adds its own in its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import nn

from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.options.checks import expect, expect_at_least, expect_choices, refusal
from ganserve_training.options.registry import Registry

Shape = tuple[int, ...]
"""Shape of one sample in the networks: (C, H, W) or (D,)."""
Player = Callable[[Any, Shape, Conditioning], nn.Module]
"""Builds a network from its configuration, the shape of a sample and the conditioning."""
LatentDistribution = Literal["normal", "uniform"]
GeneratorConditioning = Literal["auto", "none", "concatenation", "batch-norm"]
OutputActivation = Literal["none", "tanh"]
CriticConditioning = Literal["auto", "none", "concatenation", "projection", "classifier"]
SpectralNorm = Literal["off", "critic", "both"]
Norm = Literal["auto", "none", "batch", "layer"]
NormKind = Literal["none", "batch", "layer"]

ARCHITECTURES: Registry[NetworksConfig] = Registry("architecture")
register_architecture = ARCHITECTURES.register
"""Decorator that adds a class to the choices of `--networks.architecture`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodesConfig:
    """InfoGAN's codes: parts of the latent that the critic learns to recover from the sample (Chen et al. 2016)."""

    categories: int = 0
    """Number of values of the discrete code; the model takes them as labels "code-0", "code-1", …. 0: no such code."""
    continuous: int = 0
    """Number of continuous codes, each from -1 to 1; the model takes them as controls "c0", "c1", …. 0: none."""

    def __post_init__(self) -> None:
        expect(self.categories != 1, "networks.codes.categories", self.categories, "0 or from 2")
        expect_at_least(0, self, "networks.codes", "categories", "continuous")

    @property
    def any(self) -> bool:
        """True if there are any codes."""
        return self.categories > 0 or self.continuous > 0


@dataclass(frozen=True, kw_only=True)
class NetworksConfig:
    """The generator and the critic."""

    registry: ClassVar = ARCHITECTURES
    architecture: ClassVar[str]
    """Architecture of the generator and the critic; docs/networks.md describes each."""
    players: ClassVar[tuple[Player, Player]]
    """Classes, or functions, that build the generator and the critic; the shape for a packed critic holds m samples."""
    grows: ClassVar[bool] = False
    """True if the networks start small and get further layers during the run."""
    has_styles: ClassVar[bool] = False
    """True if the generator maps latents to style vectors, as path length needs."""

    latent_dim: int = 32
    """Number of values in one latent, continuous codes included."""
    latent_distribution: LatentDistribution = "normal"
    """Distribution of each value of a latent: standard normal, or uniform on [-1, 1)."""
    generator_conditioning: GeneratorConditioning = "auto"
    """Use of the label in the generator: a learned vector concatenated to the latent, or conditional batch
    normalisation (de Vries et al. 2017). auto: concatenation if the data have labels, else none."""
    critic_conditioning: CriticConditioning = "auto"
    """Use of the label in the critic: a learned vector concatenated to its input, projection (Miyato & Koyama 2018),
    or an auxiliary classifier (AC-GAN, Odena et al. 2017). auto: projection if the data have labels, else none."""
    packing: int = 1
    """Samples that the critic judges together (PacGAN, Lin et al. 2018). Above 1 only without labels and codes."""
    codes: CodesConfig = field(default_factory=CodesConfig)
    """InfoGAN's codes."""

    def __post_init__(self) -> None:
        expect_choices(self, "networks")
        self._expect_positive("latent_dim", "packing")
        count, most = self.codes.continuous, f"less than --networks.latent-dim, {self.latent_dim}"
        expect(count < self.latent_dim, "networks.codes.continuous", count, most)

    def _expect_positive(self, *names: str) -> None:
        expect_at_least(1, self, "networks", *names)

    def check_complete(self) -> None:
        """Refuse a configuration that lacks a required value."""

    def check_effects(self, generator: nn.Module, conditioning: Conditioning) -> None:
        """Refuse options that have no effect on these networks."""

    # Values for architectures that have no such option.

    @property
    def spectral_norm(self) -> SpectralNorm:
        """Networks with spectral normalisation."""
        return "off"

    @property
    def minibatch_stddev_group(self) -> int:
        """Group size of the critic's minibatch standard deviation; 0: off."""
        return 0

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch size of each level, for networks that grow."""
        return ()

    @property
    def bounds_critic(self) -> bool:
        """True if the scores of a Wasserstein critic can't grow without end."""
        return self.spectral_norm != "off"

    @property
    def conditions_by_norm(self) -> bool:
        """True if "auto" means that labels enter the generator by conditional batch normalisation."""
        return False


@dataclass(frozen=True, kw_only=True)
class SpectralNormConfig(NetworksConfig):
    """An architecture with the option of spectral normalisation."""

    spectral_norm: SpectralNorm = "off"
    """Divide every weight by its largest singular value, in the critic or in both networks (Miyato et al. 2018)."""


@dataclass(frozen=True, kw_only=True)
class BuiltInConfig(NetworksConfig):
    """An architecture of this package."""

    label_embedding_dim: int = 32
    """Length of the learned label vector, if the label is concatenated."""
    generator_width: int = 32
    """The generator's channels at full resolution; each halving of the resolution doubles them, up to
    --networks.max-width."""
    critic_width: int = 32
    """The critic's channels, as for the generator."""
    minibatch_stddev_group: int = 0
    """Group size of the minibatch standard deviation, which shows the critic how much samples vary (Karras et al.
    2017); 0: off. An exported critic takes its mean from training, so that it scores each sample alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect_positive("label_embedding_dim", "generator_width", "critic_width")
        group = self.minibatch_stddev_group
        expect(group == 0 or group >= 2, "networks.minibatch_stddev_group", group, "0 (off) or at least 2")

    def check_effects(self, generator: nn.Module, conditioning: Conditioning) -> None:
        """Refuse a length for label vectors if neither network has one."""
        super().check_effects(generator, conditioning)
        length, ways = self.label_embedding_dim, (conditioning.generator, conditioning.critic)
        if length != BuiltInConfig.label_embedding_dim and "concatenation" not in ways:
            problem = "has no effect where no network has a label concatenated"
            flags = "--networks.generator-conditioning or --networks.critic-conditioning"
            raise refusal(
                "networks.label_embedding_dim", length, problem, f"Leave it out, or add {flags} concatenation"
            )


@dataclass(frozen=True, kw_only=True)
class ImageConfig(BuiltInConfig):
    """An architecture whose width doubles with each halving of the resolution."""

    max_width: int = 256
    """Largest number of channels at any resolution."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect_positive("max_width")


@dataclass(frozen=True, kw_only=True)
class UnnormalisedConfig(ImageConfig):
    """An architecture for images without batch normalisation."""

    generator_conditioning: Literal["auto", "none", "concatenation"] = "auto"
    """Use of the label in the generator: a learned vector concatenated to the latent. auto: concatenation if the data
    have labels, else none."""


@dataclass(frozen=True, kw_only=True)
class OpenOutputConfig(NetworksConfig):
    """An architecture whose generator's images have no bounds in its paper."""

    output_activation: OutputActivation = "none"
    """Activation of the generator's images. tanh is for pictures with much exact black or white: without bounds no
    pixel is ever quite black, by which the critic tells all samples from real ones. none: as in the paper."""


@dataclass(frozen=True, kw_only=True)
class NormConfig(BuiltInConfig, SpectralNormConfig):
    """An architecture with a choice of normalisation layers."""

    generator_norm: Norm = "auto"
    """The generator's normalisation before each activation. auto depends on --networks.architecture: batch for dcgan
    and residual, none for mlp."""
    critic_norm: Norm = "auto"
    """The critic's normalisation. auto depends on --networks.architecture: batch for dcgan, none for mlp and residual.
    With a gradient penalty choose none or layer, as batch normalisation mixes samples."""

    auto_norms: ClassVar[tuple[NormKind, NormKind]] = ("batch", "none")
    """Meaning of "auto" for the generator and for the critic."""

    def __post_init__(self) -> None:
        super().__post_init__()
        how, path = self.generator_conditioning, "networks.generator_conditioning"
        expected = "auto or concatenation in a generator without batch normalisation"
        holds = how != "batch-norm" or self.norms[0] == "batch"
        expect(holds, path, how, expected, "Or add --networks.generator-norm batch")

    @property
    def norms(self) -> tuple[NormKind, NormKind]:
        """Normalisation of the generator and of the critic, without "auto"."""
        generator, critic = self.auto_norms
        return (
            generator if self.generator_norm == "auto" else self.generator_norm,
            critic if self.critic_norm == "auto" else self.critic_norm,
        )
