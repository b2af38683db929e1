"""What the configurations of architectures share; each architecture adds its own options in its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import nn

from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.options.checks import expect
from ganserve_training.options.registry import Registry

Shape = tuple[int, ...]
"""Of one sample as networks see it: (C, H, W) or (D,)."""
Player = Callable[[Any, Shape, Conditioning], nn.Module]
"""Makes a network from its configuration, the shape of a sample and how labels enter."""
LatentDistribution = Literal["normal", "uniform"]
GeneratorConditioning = Literal["auto", "none", "concatenation", "batch-norm"]
CriticConditioning = Literal["auto", "none", "concatenation", "projection", "classifier"]
SpectralNorm = Literal["off", "critic", "both"]
Norm = Literal["auto", "none", "batch", "layer"]

ARCHITECTURES: Registry[NetworksConfig] = Registry("architecture")
register_architecture = ARCHITECTURES.register
"""Makes a class a choice of `--networks.architecture`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodesConfig:
    """InfoGAN's codes: parts of the latent that the critic learns to read back from the sample (Chen et al. 2016)."""

    categories: int = 0
    """Values of one discrete code, drawn uniformly; served as labels "code-0" and so on. 0: none."""
    continuous: int = 0
    """How many continuous codes, each uniform on [-1, 1); served as controls "c0", "c1" and so on. 0: none."""

    def __post_init__(self) -> None:
        expect(
            self.categories == 0 or self.categories >= 2, "networks.codes.categories", self.categories, "0 or from 2"
        )
        expect(self.continuous >= 0, "networks.codes.continuous", self.continuous, "0 or more")

    @property
    def any(self) -> bool:
        """Whether there are codes at all."""
        return self.categories > 0 or self.continuous > 0


@dataclass(frozen=True, kw_only=True)
class NetworksConfig:
    """The generator and the critic."""

    registry: ClassVar = ARCHITECTURES
    architecture: ClassVar[str]
    """Which pair of networks; docs/networks.md describes each."""

    latent_dim: int = 32
    """Z, how many values make one latent, continuous codes included."""
    latent_distribution: LatentDistribution = "normal"
    """Of each value, independently: standard normal, or uniform on [-1, 1)."""
    generator_conditioning: GeneratorConditioning = "auto"
    """How the label enters the generator: concatenated to the latent as a learned vector, or by conditional batch
    normalisation (de Vries et al. 2017). auto: concatenation where the data have labels, else none."""
    critic_conditioning: CriticConditioning = "auto"
    """How the label enters the critic: concatenated to its input as a learned vector, by projection (Miyato & Koyama
    2018), or by an auxiliary classifier (AC-GAN, Odena et al. 2017). auto: projection where the data have labels."""
    packing: int = 1
    """Samples that the critic judges together (PacGAN, Lin et al. 2018); 1: one. Unconditional models only."""
    codes: CodesConfig = field(default_factory=CodesConfig)
    """InfoGAN's codes."""

    def __post_init__(self) -> None:
        self._expect_positive("latent_dim", "packing")
        expect(
            self.codes.continuous < self.latent_dim,
            "networks.codes.continuous",
            self.codes.continuous,
            f"less than --networks.latent-dim, {self.latent_dim}",
        )

    def _expect_positive(self, *names: str) -> None:
        for name in names:
            expect(getattr(self, name) >= 1, f"networks.{name}", getattr(self, name), "at least 1")

    def check_complete(self) -> None:
        """Refuse a configuration that lacks what no default can give."""

    @property
    def players(self) -> tuple[Player, Player]:
        """What makes the generator and the critic; a packed critic's shape holds m samples."""
        raise NotImplementedError

    def build_generator(self, shape: Shape, conditioning: Conditioning) -> nn.Module:
        """Return a generator of samples of this shape."""
        return self.players[0](self, shape, conditioning)

    def build_critic(self, shape: Shape, conditioning: Conditioning) -> nn.Module:
        """Return a critic of samples of this shape; a packed critic's holds m samples."""
        return self.players[1](self, shape, conditioning)

    # What these are where an architecture has no such option.

    @property
    def spectral_norm(self) -> SpectralNorm:
        """Which networks' weights are divided by their largest singular value."""
        return "off"

    @property
    def minibatch_stddev_group(self) -> int:
        """Samples over which the critic is shown the standard deviation; 0: off."""
        return 0

    @property
    def conditions_by_norm(self) -> bool:
        """Whether labels enter the generator by conditional batch normalisation if nothing else is asked for."""
        return False


@dataclass(frozen=True, kw_only=True)
class SpectralNormConfig(NetworksConfig):
    """Networks whose weights may be normalised spectrally."""

    spectral_norm: SpectralNorm = "off"
    """Divides every weight by its largest singular value, in the critic or in both networks (Miyato et al. 2018)."""


@dataclass(frozen=True, kw_only=True)
class BuiltInConfig(NetworksConfig):
    """An architecture of this package."""

    label_embedding_dim: int = 32
    """Length of the learned label vector where one is concatenated."""
    generator_width: int = 32
    """Channels at the full resolution; each halving of the resolution doubles them, up to max_width."""
    critic_width: int = 32
    """The same for the critic."""
    minibatch_stddev_group: int = 0
    """Samples over which the critic is shown the standard deviation (Karras et al. 2017); 0: off. Frozen to its running
    mean in evaluation, so that an exported critic scores each sample alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect_positive("label_embedding_dim", "generator_width", "critic_width")
        group = self.minibatch_stddev_group
        expect(group == 0 or group >= 2, "networks.minibatch_stddev_group", group, "0 (off) or at least 2")


@dataclass(frozen=True, kw_only=True)
class ImageConfig(BuiltInConfig):
    """An architecture whose width doubles with each halving of the resolution."""

    max_width: int = 256
    """Most channels at any resolution."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect_positive("max_width")


@dataclass(frozen=True, kw_only=True)
class UnnormalisedConfig(ImageConfig):
    """An architecture for images without batch normalisation."""

    generator_conditioning: Literal["auto", "none", "concatenation"] = "auto"
    """How the label enters the generator: concatenated to the latent as a learned vector. auto: so where the data have
    labels, else none."""


@dataclass(frozen=True, kw_only=True)
class NormConfig(BuiltInConfig, SpectralNormConfig):
    """An architecture whose normalisation layers can be chosen."""

    generator_norm: Norm = "auto"
    """Normalisation before each activation. auto: batch for dcgan and residual, none for mlp."""
    critic_norm: Norm = "auto"
    """The same for the critic. auto: batch for dcgan, none for mlp and residual. Gradient penalties want none or layer,
    as batch normalisation mixes samples."""

    auto_generator_norm: ClassVar[Literal["none", "batch"]] = "batch"
    """What `auto` means for the generator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(
            self.generator_conditioning != "batch-norm" or self.generator_is_batch_normalised,
            "networks.generator_conditioning",
            self.generator_conditioning,
            "auto or concatenation in a generator without batch normalisation",
            "Or add --networks.generator-norm batch",
        )

    @property
    def generator_is_batch_normalised(self) -> bool:
        """Whether the generator has batch normalisations, which labels may condition."""
        norm = self.auto_generator_norm if self.generator_norm == "auto" else self.generator_norm
        return norm == "batch"
