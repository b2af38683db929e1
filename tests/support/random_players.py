"""Make players with random weights, as PyTorch modules and as exported graphs. N = batch."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ganserve_export.from_run.folding import fold
from ganserve_export.from_run.graph_modules import CriticGraph, GeneratorGraph
from ganserve_export.from_run.torch_to_onnx import to_onnx
from ganserve_export.package.calibration import LogisticCalibration
from ganserve_training.data import DataInfo
from ganserve_training.networks import build_networks
from ganserve_training.networks.config import ARCHITECTURES

Kind = Literal["generator", "network", "critic"]
"""Players: the package's generator (uint8), its network alone (float32), the package's critic."""

_LATENT, _SIZE, _LABELS = 16, 16, ("a", "b", "c")
_DATA = DataInfo(sample_shape=(_SIZE, _SIZE, 3), label_names=_LABELS)
_ARCHITECTURES = {
    "dcgan": {"generator_conditioning": "batch-norm"},
    "residual": {"critic_norm": "layer", "spectral_norm": "both"},
    "r3gan": {"group_size": 8},
}


@dataclass(frozen=True)
class Player:
    module: nn.Module
    """The module as trained: float32, unfolded, on the CPU."""
    content: bytes
    """The graph as an ONNX file's content."""
    outputs: tuple[str, ...]

    def feed(self, count: int, seed: int) -> dict[str, Tensor]:
        """Inputs by name, [N, ...], in the order of the module's arguments."""
        random = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, len(_LABELS), (count,), generator=random)
        if "samples" in self.outputs:
            return {"latents": torch.randn(count, _LATENT, generator=random), "labels": labels}
        samples = torch.randint(0, 256, (count, _SIZE, _SIZE, 3), dtype=torch.uint8, generator=random)
        return {"samples": samples, "labels": labels}

    def compute(self, feed: dict[str, Tensor], device: str) -> list[Tensor]:
        """Compute the module on a device, in float32 without TF32."""
        module = copy.deepcopy(self.module).to(device)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            outputs = module(*(value.to(device) for value in feed.values()))
        return [output.cpu() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


class _Alone(nn.Module):
    """A generator's network without post-processing."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """latents [N, Z], labels [N] -> images float32 [N, C, H, W]."""
        images: Tensor = self.generator(latents, labels)
        return images


@functools.cache
def random_player(architecture: str, kind: Kind, *, half: bool = False) -> Player:
    """Make a player; `half` computes in float16."""
    torch.manual_seed(0)
    networks = ARCHITECTURES[architecture](
        latent_dim=_LATENT,
        generator_width=16,
        critic_width=16,
        max_width=64,
        **_ARCHITECTURES[architecture],
    )
    pair = build_networks(networks, _DATA)
    _scatter(pair.generator, pair.critic)
    with torch.no_grad():  # change running statistics and power iterations from their initial values
        labels = torch.arange(32) % len(_LABELS)
        pair.critic(pair.generator(torch.randn(32, _LATENT), labels), labels if pair.critic_uses_labels else None)
    calibration = LogisticCalibration.uncalibrated(len(_LABELS) if pair.critic_uses_labels else 0)

    def wrap(player: nn.Module) -> nn.Module:
        if kind == "critic":
            return CriticGraph(player, calibration, _DATA).eval()
        return (GeneratorGraph(player, _DATA) if kind == "generator" else _Alone(player)).eval()

    original = (pair.critic if kind == "critic" else pair.generator).eval()
    outputs = ("scores", "probabilities") if kind == "critic" else ("samples",)
    folded = fold(original)
    player = Player(wrap(original), b"", outputs)
    content = to_onnx(wrap(folded.half() if half else folded), player.feed(2, 0), outputs).SerializeToString()
    return replace(player, content=content)


def _scatter(*players: nn.Module) -> None:
    """Randomise the weights that start at zero."""
    with torch.no_grad():
        for weight in (weight for player in players for weight in player.parameters()):
            if not weight.any():
                weight.normal_(std=0.05)
