"""Architectures by name."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ganserve_training.config import NetworksConfig
from ganserve_training.data.info import DataInfo
from ganserve_training.networks.convolutional import ConvolutionalCritic, ConvolutionalGenerator


@dataclass(frozen=True, slots=True)
class NetworkPair:
    """The two players."""

    generator: nn.Module
    """latents float32 [N, Z], labels int64 [N] or None -> images float32 [N, C, H, W]."""
    critic: nn.Module
    """images float32 [N, C, H, W], labels int64 [N] or None -> scores float32 [N]."""


def build_networks(config: NetworksConfig, data: DataInfo) -> NetworkPair:
    """A fresh pair for samples of this shape, with weights drawn from torch's global generator.

    Raises:
        ConfigError: the architecture can't make samples of this shape.
    """
    return _ARCHITECTURES[config.architecture](config, data)


def _convolutional(config: NetworksConfig, data: DataInfo) -> NetworkPair:
    return NetworkPair(ConvolutionalGenerator(config, data), ConvolutionalCritic(config, data))


_ARCHITECTURES: dict[str, Callable[[NetworksConfig, DataInfo], NetworkPair]] = {"convolutional": _convolutional}
