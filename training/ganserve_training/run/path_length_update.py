"""The updates of a style-based generator by path length alone (Karras et al. 2020, section 3.2 and appendix B)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ganserve_training.networks.latents import LatentPrior
from ganserve_training.objectives.style_training import PathLength, StyledGenerator
from ganserve_training.run.distributed import Processes
from ganserve_training.run.optimisers import Updater
from ganserve_training.run.random_state import Noise


class PathLengthUpdate:
    """Updates the generator by the penalty at a fixed interval of steps, on half a batch to save memory.

    `precision` gives the context in which networks compute.
    """

    measures = ("path_length", "path_length_penalty")
    """Names of what an update returns."""

    def __init__(
        self,
        path_length: PathLength,
        generator: StyledGenerator,
        updater: Updater,
        prior: LatentPrior,
        noise: Noise,
        processes: Processes,
        precision: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.path_length = path_length
        self._generator = generator
        self._updater = updater
        self._prior = prior
        self._noise = noise
        self._processes = processes
        self._precision = precision

    def __call__(
        self, labels: Sequence[Tensor | None], sizes: Sequence[int], step: int, progress: float
    ) -> list[Tensor]:
        """Update after step `step` (from 0), if it is due; return the mean length and the penalty, scalars.

        `labels`, int64 [N] or None, and `sizes` are those of the parts of the batch.
        """
        mean, interval = self.path_length.mean, self.path_length.config.interval
        if step % interval:
            return [mean.clone(), mean.new_zeros(())]
        self._updater.forget_gradients()
        penalties = []
        for part, size in zip(labels, sizes, strict=True):
            count = (size + 1) // 2
            latents = self._noise.latents(self._prior, count)
            with self._precision():
                styles = self._generator.styles(latents, None if part is None else part[:count])
                images = self._generator.images(styles).to(torch.float32)
            penalty = self.path_length.penalty(styles, images, self._noise) * interval
            # Every weight gets a gradient, if zero, so that the decay of all moments is the same.
            torch.autograd.backward((penalty + images.sum() * 0.0) / len(sizes))
            penalties.append(penalty.detach())
        self._updater.average_gradients()
        self._updater.step(progress)
        self._processes.average([mean])
        return [mean.clone(), torch.stack(penalties).mean()]
