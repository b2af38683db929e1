"""What can be evaluated: anything that draws samples. N = samples, H, W, C = image, D = values of a vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.config import DataConfig
from ganserve_training.run.folder import Which
from ganserve_training.run.trained import draw_samples, load_trained


class Subject(Protocol):
    """A generator, wherever it lives."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one sample: (H, W, C) or (D,)."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of the labels that it takes; empty: none."""
        ...

    @property
    def learned_from(self) -> DataConfig | None:
        """The data that it learned from, where that is known."""
        ...

    @property
    def step(self) -> int:
        """The training step that it comes from."""
        ...

    @property
    def checkpoint_sha256(self) -> str:
        """Of the checkpoint that it comes from; empty: not known."""
        ...

    def draw(self, labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        """Sample as people see them, uint8 [count, H, W, C] or float32 [count, D].

        Args:
            labels: Int64 [count], or None for a generator that takes none.
            count: How many.
            seed: Of the latents, which are those of `draw_samples`.
        """
        ...


class RunSubject:
    """The averaged generator of a run's checkpoint.

    Args:
        run: The run's folder.
        which: Of its checkpoints, as `load_trained` says.

    Raises:
        CheckpointError: The run has no whole checkpoint.
    """

    def __init__(self, run: Path, which: Which = "auto") -> None:
        self._model = load_trained(run, which)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of the run's data."""
        return self._model.data.sample_shape

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of the data's labels, or of InfoGAN's codes."""
        return self._model.label_names

    @property
    def learned_from(self) -> DataConfig:
        """Of the run's configuration."""
        return self._model.config.data

    @property
    def step(self) -> int:
        """Of the checkpoint."""
        return self._model.step

    @property
    def checkpoint_sha256(self) -> str:
        """Of the checkpoint's file."""
        return self._model.checkpoint_sha256

    def draw(self, labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        """Sample of the averaged generator, on the CPU."""
        return draw_samples(self._model.generator, self._model.prior, self._model.data, labels, count, seed)
