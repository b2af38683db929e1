"""Make a training configuration with fast steps, for tests of everything around training."""

import io
import signal
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ganserve_training import train
from ganserve_training.config import (
    AdamConfig,
    Anneal,
    AugmentationConfig,
    ConvolutionalConfig,
    EmaConfig,
    OptimisersConfig,
    OutputConfig,
    RegularisersConfig,
    ScheduleConfig,
    TrainConfig,
)
from ganserve_training.run.checkpoint import checkpoint_paths, load_checkpoint
from ganserve_training.run.start_or_resume import RunResult

TINY_FLAGS = [
    *("--networks.latent-dim", "8", "--networks.label-embedding-dim", "4"),
    *("--networks.generator-width", "4", "--networks.critic-width", "4"),
    *("--batch-size", "16"),
]


def tiny_config(**changes: Any) -> TrainConfig:
    """Return twelve steps with all options on and annealed; `changes` replace fields."""
    adam = AdamConfig(learning_rate=Anneal(start=3e-3, end=1e-3))
    fields = {
        "steps": 12,
        "on_trouble": "continue",  # Untrained networks look like failures.
        "batch_size": 16,
        "networks": ConvolutionalConfig(latent_dim=8, label_embedding_dim=4, generator_width=4, critic_width=4),
        "regularisers": RegularisersConfig(r1_gamma=Anneal(start=1.0, end=0.1), r2_gamma=Anneal.constant(0.3)),
        "optimisers": OptimisersConfig(generator=adam, critic=adam),
        "ema": EmaConfig(half_life_kimg=0.1),
        "augmentation": AugmentationConfig(translation_px=1),
        "schedule": ScheduleConfig(burn_in_steps=10),
        "output": OutputConfig(log_every_steps=3, checkpoint_every_steps=4, samples_every_steps=6, keep_checkpoints=2),
    }
    return TrainConfig(**(fields | changes))


def assert_same(ours: object, theirs: object, where: str = "state") -> None:
    """Assert that tensors, dictionaries and lists are equal bit for bit."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), where  # type: ignore[arg-type]
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs), where  # type: ignore[call-overload]
        for key in ours:
            assert_same(ours[key], theirs[key], f"{where}.{key}")  # type: ignore[index]
    elif isinstance(ours, list | tuple):
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):  # type: ignore[call-overload]
            assert_same(a, b, f"{where}[{index}]")
    else:
        assert ours == theirs, where


def run_tiny(
    config: TrainConfig, out: Path, *, stop_after: int | None = None, said: io.StringIO | None = None
) -> RunResult:
    """Train on the CPU; send a signal after `stop_after` steps of this call, if given."""
    countdown = iter(range(stop_after or 10**9, -1, -1))
    return train(
        config,
        out,
        device="cpu",
        console=Console(file=said or io.StringIO(), width=10_000),
        stop_signal=lambda: signal.SIGTERM if next(countdown, 1) == 1 else None,
    )


def newest_state(out: Path) -> dict[str, Any]:
    """Return the content of a run's newest checkpoint."""
    return load_checkpoint(checkpoint_paths(out / "checkpoints")[-1]).state
