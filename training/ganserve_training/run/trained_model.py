"""Load the networks of a trained run, for evaluation, export and scripts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganserve_training.config import TrainConfig
from ganserve_training.config.serialisation import config_from_dict
from ganserve_training.data import DataInfo, from_network
from ganserve_training.errors import CheckpointError, ConfigError, DataError
from ganserve_training.files import reading
from ganserve_training.networks import build_networks
from ganserve_training.networks.latents import LatentPrior
from ganserve_training.networks.own_code import failures_told
from ganserve_training.run.checkpoint import Checkpoint, best_checkpoint_path, load_checkpoint, load_latest_checkpoint
from ganserve_training.run.checkpoint_weights import load_weights
from ganserve_training.run.run_folder import RunFolder, Which
from ganserve_training.run.trust import expect_trusted


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedModel:
    """The networks of one of a run's checkpoints, on the CPU, float32, in eval mode."""

    generator: nn.Module
    """Averaged generator: latents float32 [N, Z], labels int64 [N] or None -> images [N, C, H, W]."""
    critic: nn.Module
    """images [N, C, H, W], labels -> scores [N]."""
    config: TrainConfig
    step: int
    samples_seen: int
    data: DataInfo
    prior: LatentPrior
    label_names: tuple[str, ...]
    """Names of the generator's labels: those of the data, InfoGAN's "code-0" and so on, or none."""
    checkpoint: Path
    checkpoint_sha256: str
    metrics: dict[str, float]
    """Figures of `ganserve evaluate` for this checkpoint; empty if it was not evaluated."""
    metrics_problem: str = ""
    """Reason why the figures can't be read; empty: they can, or there are none."""


@failures_told()
def load_trained(run: Path, which: Which = "auto", *, trust: bool = False) -> TrainedModel:
    """Return the networks of a run.

    `which` chooses the latest checkpoint or the one with the best quality. Training's quality measure is noisy, so the
    best of many values may be no better than the last: auto takes the latest unless the diagnosis found a lasting
    decline.

    `trust` allows a run to import and call classes that its configuration names and that the user has not trained with.

    Raises:
        CheckpointError: There is none, or it is damaged.
        UntrustedRunError: The configuration names such classes, and `trust` is not set.
    """
    folder = RunFolder(run)
    checkpoint = find_checkpoint(folder, which)
    state = checkpoint.state
    config = config_of(checkpoint)
    if not trust:
        expect_trusted(config, run)
    with reading(checkpoint.path, "a checkpoint of ganserve", CheckpointError):
        data = DataInfo.from_dict(state["data"])
        step, samples_seen = int(state["step"]), int(state["samples_seen"])
        averaged, critic = state["ema"], state["critic"]
    with torch.random.fork_rng(devices=[]):
        pair = build_networks(config.networks, data)
    load_weights(pair.generator, averaged, "generator", checkpoint.path)
    load_weights(pair.critic, critic, "critic", checkpoint.path)
    metrics, problem = {}, ""
    try:
        metrics = folder.read_metrics(checkpoint.sha256)
    except DataError as error:  # A model is of use without them, and the next evaluation replaces the file.
        problem = f"{error} Run `ganserve evaluate {run}` again."
    return TrainedModel(
        generator=pair.generator.eval().requires_grad_(False),
        critic=pair.critic.eval().requires_grad_(False),
        config=config,
        step=step,
        samples_seen=samples_seen,
        data=data,
        prior=LatentPrior.of(config.networks),
        label_names=pair.label_names,
        checkpoint=checkpoint.path,
        checkpoint_sha256=checkpoint.sha256,
        metrics=metrics,
        metrics_problem=problem,
    )


def config_of(checkpoint: Checkpoint, which: Literal["config", "asked"] = "config") -> TrainConfig:
    """Return the configuration in a checkpoint: the one that it was trained with, or the one that was asked for.

    Raises:
        CheckpointError: It holds none, or one that was changed by hand and is wrong.
    """
    try:
        return config_from_dict(checkpoint.state.get(which, checkpoint.state["config"]))
    except KeyError:
        raise CheckpointError(f"checkpoint {checkpoint.path}: holds no configuration. Restore it.") from None
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {checkpoint.path}: holds no usable configuration. {error}") from error


def find_checkpoint(folder: RunFolder, which: Which) -> Checkpoint:
    """Return the checkpoint that `which` chooses, as `load_trained` describes; raise CheckpointError if it can't."""
    damaged: list[str] = []
    latest = load_latest_checkpoint(folder.checkpoints, damaged.append)
    if damaged:
        raise CheckpointError(f"{damaged[0]} The same `ganserve train` command repairs the run.")
    if latest is None:
        raise CheckpointError(folder.missing("checkpoint"))
    best = best_checkpoint_path(folder.checkpoints)
    if which == "best":
        if best is None:
            raise CheckpointError(
                f"{folder.root}: keeps no best checkpoint, as it was trained without --diagnosis.keep-best, or for "
                "less than --diagnosis.every-steps after its networks were fully grown. Use the latest."
            )
        return load_checkpoint(best)
    with reading(latest.path, "a checkpoint of ganserve", CheckpointError):
        diagnosis = latest.state.get("diagnosis")
        declined = diagnosis is not None and "decline" in diagnosis["debounce"]["lasting"]
    return load_checkpoint(best) if which == "auto" and declined and best is not None else latest


def draw_samples(
    generator: nn.Module, prior: LatentPrior, data: DataInfo, labels: NDArray[np.int64] | None, count: int, seed: int
) -> NDArray[Any]:
    """Return samples for users, computed on the generator's device: uint8 [count, H, W, C] or float32 [count, D].

    The generator must be in eval mode. `labels` are int64 [count], or None for an unconditional generator. The same
    `seed` gives the same latents on every device.
    """
    device = next(generator.parameters()).device
    latents = prior.draw(count, torch.Generator().manual_seed(seed)).to(device)
    label_tensor = None if labels is None else torch.from_numpy(labels).to(device)
    parts: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, count, 256):
            part = None if label_tensor is None else label_tensor[start : start + 256]
            parts.append(from_network(generator(latents[start : start + 256], part), data).cpu())
    return torch.cat(parts).numpy()
