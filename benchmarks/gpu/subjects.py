"""The measured generators, with random weights, as PyTorch modules and as ONNX. N = batch, Z = latent."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass

import torch
from packages import LABELS
from torch import Tensor, nn

from ganserve_export.from_run.folding import fold
from ganserve_export.from_run.graph_modules import GeneratorGraph
from ganserve_export.from_run.torch_to_onnx import to_onnx
from ganserve_training.config import DcganConfig, NetworksConfig, R3ganConfig
from ganserve_training.data import DataInfo
from ganserve_training.networks import build_networks


@dataclass(frozen=True)
class Subject:
    """A conditional generator."""

    name: str
    size: int
    """Pixels along a side; three channels."""
    networks: NetworksConfig

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        return (self.size, self.size, 3)

    @property
    def grouped(self) -> bool:
        """True if it has grouped convolutions."""
        return isinstance(self.networks, R3ganConfig)

    @property
    def bytes_per_sample(self) -> int:
        return self.size * self.size * 3

    def inputs(self, count: int) -> dict[str, Tensor]:
        """Return latents float32 [N, Z] and labels int64 [N]."""
        random = torch.Generator().manual_seed(count)
        latents = torch.randn(count, self.networks.latent_dim, generator=random)
        return {"latents": latents, "labels": torch.arange(count) % len(LABELS)}

    def module(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """Return the generator with uint8 images as output, as export does, but not folded."""
        network = copy.deepcopy(_network(self)).to(dtype)
        return GeneratorGraph(network, _data(self)).eval().requires_grad_(False)

    def onnx(self, *, half: bool) -> bytes:
        """Return the package's graph in float32 or float16."""
        return _onnx(self, half)


@functools.cache
def _network(subject: Subject) -> nn.Module:
    torch.manual_seed(0)
    network = build_networks(subject.networks, _data(subject)).generator.eval()
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():  # multiplying by zeros would be faster than by trained weights
                weight.normal_(std=0.02)
    return network


@functools.cache
def _onnx(subject: Subject, half: bool) -> bytes:
    folded = fold(_network(subject))
    graph = GeneratorGraph(folded.half() if half else folded, _data(subject)).eval()
    return to_onnx(graph, subject.inputs(2), ("samples",)).SerializeToString()


def _data(subject: Subject) -> DataInfo:
    return DataInfo(sample_shape=subject.sample_shape, label_names=LABELS)


def _dcgan(width: int, most: int) -> NetworksConfig:
    return DcganConfig(latent_dim=100, generator_width=width, max_width=most)


def _r3gan(width: int, most: int, blocks: int, group: int) -> NetworksConfig:
    return R3ganConfig(
        latent_dim=64,
        generator_width=width,
        max_width=most,
        blocks_per_level=blocks,
        group_size=group,
    )


SUBJECTS = {
    # Widths of DCGAN (Radford et al. 2016) and of R3GAN on FFHQ-256 (Huang et al. 2024).
    "cuda": (
        Subject("dcgan-32", 32, _dcgan(64, 512)),
        Subject("dcgan-64", 64, _dcgan(64, 1024)),
        Subject("r3gan-256", 256, _r3gan(96, 768, 2, 16)),
    ),
    # For a dry run.
    "cpu": (
        Subject("dcgan-8", 8, _dcgan(4, 8)),
        Subject("r3gan-8", 8, _r3gan(4, 8, 1, 4)),
    ),
}
