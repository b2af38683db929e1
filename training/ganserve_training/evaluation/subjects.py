"""Define what can be evaluated: anything that draws samples. N = samples, H, W, C = image, D = values of a vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.config import DataConfig
from ganserve_training.run.run_folder import Which
from ganserve_training.run.trained_model import draw_samples, load_trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A generator to evaluate: of a run, of a package, or your own."""

    sample_shape: tuple[int, ...]
    """Shape of one sample: (H, W, C) or (D,)."""
    label_names: tuple[str, ...]
    """Names of the labels that it takes; empty: none."""
    learned_from: DataConfig | None
    """Data that it learned from; None: unknown."""
    step: int
    """Training step of its checkpoint."""
    checkpoint_sha256: str
    """Digest of its checkpoint; empty: unknown."""
    draw: Callable[[NDArray[np.int64] | None, int, int], NDArray[Any]]
    """Takes labels int64 [N] or None, N, and a seed; returns samples uint8 [N, H, W, C] or float32 [N, D]. The latents
    are those of `draw_samples` with this seed."""


def run_subject(run: Path, which: Which = "auto") -> Subject:
    """Return the averaged generator of a run's checkpoint, which draws samples on the CPU.

    Raises:
        CheckpointError: The run has no whole checkpoint.
    """
    model = load_trained(run, which)
    return Subject(
        sample_shape=model.data.sample_shape,
        label_names=model.label_names,
        learned_from=model.config.data,
        step=model.step,
        checkpoint_sha256=model.checkpoint_sha256,
        draw=lambda labels, count, seed: draw_samples(model.generator, model.prior, model.data, labels, count, seed),
    )
