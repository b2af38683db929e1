"""Architectures by name: a configuration and its data -> the two players."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ganserve_training.config import ArchitectureName, NetworksConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.networks.base import Shape
from ganserve_training.networks.batch_statistics import PackedCritic
from ganserve_training.networks.conditioning import Conditioning, resolve_conditioning
from ganserve_training.networks.convolutional import ConvolutionalCritic, ConvolutionalGenerator
from ganserve_training.networks.custom import custom_critic, custom_generator
from ganserve_training.networks.dcgan import DcganCritic, DcganGenerator
from ganserve_training.networks.mlp import MlpCritic, MlpGenerator
from ganserve_training.networks.normalisation import normalise_spectrally
from ganserve_training.networks.progressive import ProgressiveCritic, ProgressiveGenerator
from ganserve_training.networks.r3gan import R3ganCritic, R3ganGenerator
from ganserve_training.networks.residual import ResidualCritic, ResidualGenerator


@dataclass(frozen=True, slots=True)
class NetworkPair:
    """The two players."""

    generator: nn.Module
    """latents float32 [N, Z], labels int64 [N] or None -> samples float32 [N, C, H, W] or [N, D]."""
    critic: nn.Module
    """samples float32 [N, C, H, W] or [N, D], labels int64 [N] or None -> scores float32 [N], or a CriticOutput."""
    label_names: tuple[str, ...] = ()
    """Of the labels that the generator takes: the data's, InfoGAN's "code-0" and so on, or none."""
    critic_uses_labels: bool = False
    """Whether the critic's scores depend on labels, so that it can't be called without them."""


def build_networks(config: NetworksConfig, data: DataInfo) -> NetworkPair:
    """A fresh pair for samples of this shape, with weights drawn from torch's global generator.

    Raises:
        ConfigError: The architecture can't make samples of this shape, or conditioning contradicts the data.
    """
    conditioning = resolve_conditioning(config, data)
    shape = data.network_shape
    build_generator, build_critic = _ARCHITECTURES[config.architecture]
    generator = build_generator(config, shape, conditioning)
    critic = build_critic(config, (shape[0] * config.packing, *shape[1:]), conditioning)
    if config.spectral_norm != "off":
        normalise_spectrally(critic)
    if config.spectral_norm == "both":
        normalise_spectrally(generator)
    return NetworkPair(
        generator,
        PackedCritic(critic, config.packing) if config.packing > 1 else critic,
        conditioning.label_names,
        conditioning.critic_uses_labels,
    )


_Build = Callable[[NetworksConfig, Shape, Conditioning], nn.Module]

_ARCHITECTURES: dict[ArchitectureName, tuple[_Build, _Build]] = {
    "mlp": (MlpGenerator, MlpCritic),
    "convolutional": (ConvolutionalGenerator, ConvolutionalCritic),
    "dcgan": (DcganGenerator, DcganCritic),
    "residual": (ResidualGenerator, ResidualCritic),
    "progressive": (ProgressiveGenerator, ProgressiveCritic),
    "r3gan": (R3ganGenerator, R3ganCritic),
    "custom": (custom_generator, custom_critic),
}
