"""What a run has learned, ready to use: for evaluation, export and your own scripts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganserve_training.checkpoint import load_latest_checkpoint
from ganserve_training.config import TrainConfig
from ganserve_training.config_io import config_from_dict
from ganserve_training.data.images import DataInfo, to_uint8
from ganserve_training.errors import CheckpointError
from ganserve_training.networks import build_networks
from ganserve_training.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedModel:
    """The networks of a run's newest checkpoint, on the CPU, float32, in eval mode."""

    generator: nn.Module
    """With the averaged weights: latents float32 [N, Z], labels int64 [N] or None -> images [N, C, H, W]."""
    critic: nn.Module
    """images [N, C, H, W], labels -> scores [N]."""
    config: TrainConfig
    step: int
    samples_seen: int
    data: DataInfo
    latent_dim: int
    checkpoint: Path
    checkpoint_sha256: str
    metrics: dict[str, float]
    """What `ganserve evaluate` found for this checkpoint; empty if it has not looked at it."""


def load_trained(run: Path) -> TrainedModel:
    """The newest whole checkpoint of a run folder.

    Raises:
        CheckpointError: there is none, or the newest is damaged.
    """
    folder = RunFolder(run)
    damaged: list[str] = []
    checkpoint = load_latest_checkpoint(folder.checkpoints, damaged.append)
    if damaged:
        raise CheckpointError(f"{damaged[0]}: the same `ganserve train` command repairs the run")
    if checkpoint is None:
        raise CheckpointError(f"{run} holds no checkpoint: train first, with `ganserve train digits --out {run}`")
    state = checkpoint.state
    config = config_from_dict(state["config"])
    data = DataInfo.from_dict(state["data"])
    with torch.random.fork_rng(devices=[]):
        pair = build_networks(config.networks, data)
    pair.generator.load_state_dict(state["ema"])
    pair.critic.load_state_dict(state["critic"])
    return TrainedModel(
        generator=pair.generator.eval().requires_grad_(False),
        critic=pair.critic.eval().requires_grad_(False),
        config=config,
        step=state["step"],
        samples_seen=state["samples_seen"],
        data=data,
        latent_dim=config.networks.latent_dim,
        checkpoint=checkpoint.path,
        checkpoint_sha256=checkpoint.sha256,
        metrics=folder.read_metrics(checkpoint.sha256),
    )


def draw_samples(
    generator: nn.Module, latent_dim: int, labels: NDArray[np.int64] | None, count: int, seed: int
) -> NDArray[np.uint8]:
    """Samples from standard normal latents, on the generator's device.

    Args:
        generator: a generator in eval mode.
        latent_dim: Z.
        labels: int64 [count], or None for an unconditional generator.
        count: how many.
        seed: of the latents; the same seed gives the same latents on every device.

    Returns:
        uint8 [count, H, W, C].
    """
    device = next(generator.parameters()).device
    latents = torch.randn((count, latent_dim), generator=torch.Generator().manual_seed(seed)).to(device)
    label_tensor = None if labels is None else torch.from_numpy(labels).to(device)
    parts = []
    with torch.no_grad():
        for start in range(0, count, 256):
            part = None if label_tensor is None else label_tensor[start : start + 256]
            parts.append(to_uint8(generator(latents[start : start + 256], part)).cpu())
    return torch.cat(parts).numpy()
