"""The generator and the critic."""

from dataclasses import dataclass, field
from typing import Literal

from ganserve_training.config._checks import expect

ArchitectureName = Literal["convolutional"]
LatentDistribution = Literal["normal", "uniform"]
GeneratorConditioning = Literal["auto", "none", "concatenation", "batch-norm"]
CriticConditioning = Literal["auto", "none", "concatenation", "projection", "classifier"]
SpectralNorm = Literal["off", "critic", "both"]


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
        expect(self.continuous >= 0, "networks.codes.continuous", self.continuous, "not negative")

    @property
    def any(self) -> bool:
        """Whether there are codes at all."""
        return self.categories > 0 or self.continuous > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworksConfig:
    """The generator and the critic."""

    architecture: ArchitectureName = "convolutional"
    """convolutional: plain convolutions and leaky ReLUs, no normalisation, any power-of-two size from 8."""
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
    label_embedding_dim: int = 32
    """Length of the learned label vector where one is concatenated."""
    generator_width: int = 32
    """Channels at the full resolution; each halving of the resolution doubles them, up to max_width. Vectors: units of
    each hidden layer."""
    critic_width: int = 32
    """The same for the critic."""
    max_width: int = 256
    """Most channels at any resolution."""
    spectral_norm: SpectralNorm = "off"
    """Divides every weight by its largest singular value, in the critic or in both networks (Miyato et al. 2018)."""
    minibatch_stddev_group: int = 0
    """Samples over which the critic is shown the standard deviation (Karras et al. 2017); 0: off. Frozen to its running
    mean in evaluation, so that an exported critic scores each sample alone."""
    packing: int = 1
    """Samples that the critic judges together (PacGAN, Lin et al. 2018); 1: one. Unconditional models only."""
    codes: CodesConfig = field(default_factory=CodesConfig)

    def __post_init__(self) -> None:
        for name in (
            *("latent_dim", "label_embedding_dim", "generator_width", "critic_width", "max_width", "packing"),
        ):
            expect(getattr(self, name) >= 1, f"networks.{name}", getattr(self, name), "at least 1")
        group = self.minibatch_stddev_group
        expect(group == 0 or group >= 2, "networks.minibatch_stddev_group", group, "0 (off) or at least 2")
        expect(
            self.codes.continuous < self.latent_dim,
            "networks.codes.continuous",
            self.codes.continuous,
            f"less than networks.latent_dim ({self.latent_dim})",
        )
