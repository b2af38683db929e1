"""The generator and the critic."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ganserve_training.config._checks import expect

ArchitectureName = Literal["mlp", "convolutional", "dcgan", "residual", "progressive", "r3gan", "custom"]
LatentDistribution = Literal["normal", "uniform"]
GeneratorConditioning = Literal["auto", "none", "concatenation", "batch-norm"]
CriticConditioning = Literal["auto", "none", "concatenation", "projection", "classifier"]
SpectralNorm = Literal["off", "critic", "both"]
Norm = Literal["auto", "none", "batch", "layer"]
GeneratorActivation = Literal["relu", "leaky-relu", "tanh"]
CriticActivation = Literal["relu", "leaky-relu", "tanh", "maxout"]

_BUILT_IN = ("mlp", "convolutional", "dcgan", "residual", "progressive", "r3gan")
# Settings that only some architectures have; elsewhere they must stay at their defaults, so that none is ignored.
_ONLY_WITH: dict[str, tuple[str, ...]] = {
    "generator_width": _BUILT_IN,
    "critic_width": _BUILT_IN,
    "generator_class": ("custom",),
    "critic_class": ("custom",),
    "generator_layers": ("mlp",),
    "critic_layers": ("mlp",),
    "generator_activation": ("mlp",),
    "critic_activation": ("mlp",),
    "maxout_pieces": ("mlp",),
    "generator_norm": ("mlp", "dcgan", "residual"),
    "critic_norm": ("mlp", "dcgan", "residual"),
    "blocks_per_level": ("r3gan",),
    "group_size": ("r3gan",),
    "max_width": ("convolutional", "dcgan", "residual", "progressive", "r3gan"),
}
# And settings that only some lack, refused below with their reasons.
_NOT_WITH: dict[str, tuple[str, ...]] = {
    "spectral_norm": ("progressive", "r3gan"),
    "minibatch_stddev_group": ("custom",),
}


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
    """mlp: fully connected, for vectors and small images. The others make square images of 8 to 512 pixels.
    convolutional: plain convolutions, no normalisation. dcgan: Radford et al. 2016. residual: SNGAN's, Miyato et al.
    2018. progressive: grown from 4 x 4, Karras et al. 2017. r3gan: Huang et al. 2024. custom: your own two classes."""
    generator_class: str = ""
    """custom: import path of your generator's class, such as my_package.models:MyGenerator."""
    critic_class: str = ""
    """custom: import path of your critic's class."""
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
    """Channels at the full resolution; each halving of the resolution doubles them, up to max_width. mlp: units of each
    hidden layer. Not for custom."""
    critic_width: int = 32
    """The same for the critic."""
    max_width: int = 256
    """Most channels at any resolution."""
    generator_layers: int = 3
    """mlp: hidden layers of the generator, each of generator_width units."""
    critic_layers: int = 3
    """mlp: hidden layers of the critic."""
    generator_activation: GeneratorActivation = "leaky-relu"
    """mlp: after each hidden layer."""
    critic_activation: CriticActivation = "leaky-relu"
    """mlp: after each hidden layer; maxout (Goodfellow et al. 2013) takes the largest of maxout_pieces."""
    maxout_pieces: int = 5
    """mlp: linear pieces of each maxout unit."""
    generator_norm: Norm = "auto"
    """mlp, dcgan, residual: normalisation before each activation. auto: batch for dcgan and residual, none for mlp."""
    critic_norm: Norm = "auto"
    """The same for the critic. auto: batch for dcgan, none for mlp and residual. Gradient penalties want none or layer,
    as batch normalisation mixes samples."""
    blocks_per_level: int = 1
    """r3gan: residual blocks at each resolution; the paper's is 2."""
    group_size: int = 16
    """r3gan: channels of one group of the grouped 3 x 3 convolutions; the paper's is 16."""
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
            *("generator_layers", "critic_layers", "blocks_per_level", "group_size"),
        ):
            expect(getattr(self, name) >= 1, f"networks.{name}", getattr(self, name), "at least 1")
        expect(self.maxout_pieces >= 2, "networks.maxout_pieces", self.maxout_pieces, "at least 2")
        self._check_architecture()
        group = self.minibatch_stddev_group
        expect(group == 0 or group >= 2, "networks.minibatch_stddev_group", group, "0 (off) or at least 2")
        expect(
            self.codes.continuous < self.latent_dim,
            "networks.codes.continuous",
            self.codes.continuous,
            f"less than networks.latent_dim ({self.latent_dim})",
        )

    def _check_architecture(self) -> None:
        """Refuse what the architecture doesn't have."""
        architecture = self.architecture
        defaults = {item.name: item.default for item in fields(self)}
        for name, owners in _ONLY_WITH.items():
            value = getattr(self, name)
            expect(
                architecture in owners or value == defaults[name],
                f"networks.{name}",
                value,
                f"left at {defaults[name] or 'nothing'} with architecture {architecture}: it belongs to "
                f"{', '.join(owners)}",
            )
        if architecture == "custom":
            for name in ("generator_class", "critic_class"):
                module, _, attribute = getattr(self, name).partition(":")
                expect(
                    bool(module and attribute),
                    f"networks.{name}",
                    getattr(self, name) or "nothing",
                    "an import path such as my_package.models:MyClass with architecture custom",
                )
            expect(
                self.generator_conditioning == "auto" and self.critic_conditioning in ("auto", "classifier"),
                "networks.generator_conditioning and networks.critic_conditioning",
                f"{self.generator_conditioning} and {self.critic_conditioning}",
                "left at auto with architecture custom, whose networks decide how labels enter (the critic's may be "
                "classifier: it then returns class_logits)",
            )
            expect(
                self.minibatch_stddev_group == 0,
                "networks.minibatch_stddev_group",
                self.minibatch_stddev_group,
                "0 with architecture custom: put ganserve_training.networks.MinibatchStddev into your critic",
            )
        expect(
            self.spectral_norm == "off" or architecture not in _NOT_WITH["spectral_norm"],
            "networks.spectral_norm",
            self.spectral_norm,
            "off with architecture progressive, whose equalised learning rate scales the same weights, and with r3gan, "
            "which starts with zero weights and works without normalisation",
        )
        conditional_norm = self.generator_conditioning == "batch-norm"
        has_batch_norm = architecture in ("dcgan", "residual") and self.generator_norm in ("auto", "batch")
        expect(
            not conditional_norm or has_batch_norm or (architecture == "mlp" and self.generator_norm == "batch"),
            "networks.generator_conditioning",
            self.generator_conditioning,
            f"auto or concatenation with architecture {architecture} and networks.generator_norm "
            f"{self.generator_norm}, which has no batch normalisation; dcgan and residual have it, mlp with "
            "networks.generator_norm batch",
        )


def suit_architecture(networks: NetworksConfig, architecture: str) -> NetworksConfig:
    """`networks` without the options that `architecture` has no use for: what another one leaves of a preset's.

    `networks.architecture` itself stays: the new one may need classes that only its user knows.
    """
    unsuited: dict[str, Any] = {
        item.name: item.default
        for item in fields(networks)
        if architecture not in _ONLY_WITH.get(item.name, (architecture,))
        or architecture in _NOT_WITH.get(item.name, ())
    }
    if architecture == "custom":
        unsuited |= {"generator_conditioning": "auto", "critic_conditioning": "auto"}
    elif architecture not in ("dcgan", "residual") and networks.generator_conditioning == "batch-norm":
        unsuited["generator_conditioning"] = "auto"
    return replace(networks, **unsuited)
