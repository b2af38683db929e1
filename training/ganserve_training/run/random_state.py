"""Random numbers of training, and the states of all generators as plain values."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganserve_training.data.sample_order import stream_seed
from ganserve_training.networks.latents import LatentPrior


class Noise:
    """Random numbers of the training loop, the same for any number of processes that share a batch.

    Every process draws the numbers of the whole batch and keeps those of its own share, so all generators stay in step
    and one state can be saved for all. `generator` must have the same seed in every process.
    """

    def __init__(self, generator: torch.Generator, rank: int = 0, world: int = 1) -> None:
        self.generator = generator
        self._rank = rank
        self._world = world

    def latents(self, prior: LatentPrior, count: int) -> Tensor:
        """Return this process's latents, float32 [count, Z]."""
        return self._mine(prior.draw(count * self._world, self.generator), count)

    def uniform(self, count: int, *shape: int) -> Tensor:
        """Return numbers in [0, 1), float32 [count, *shape]."""
        return self._drawn(torch.rand, count, shape)

    def normal(self, count: int, *shape: int) -> Tensor:
        """Return standard normal numbers, float32 [count, *shape]."""
        return self._drawn(torch.randn, count, shape)

    def integers(self, low: int, high: int, count: int, *shape: int) -> Tensor:
        """Return integers from low to high - 1, int64 [count, *shape]."""
        return self._drawn(partial(torch.randint, low, high), count, shape)

    def _drawn(self, draw: Callable[..., Tensor], count: int, shape: tuple[int, ...]) -> Tensor:
        size = (count * self._world, *shape)
        return self._mine(draw(size, generator=self.generator, device=self.generator.device), count)

    def _mine(self, everything: Tensor, count: int) -> Tensor:
        return everything if self._world == 1 else everything[self._rank * count : (self._rank + 1) * count]


def seed_global(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, from which a user's networks may draw."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def noise_seed(seed: int) -> int:
    """Return the seed of latents and noise; the run's own seed would draw latents equal to the first weights."""
    return stream_seed(seed, 1)


def capture_rng(generator: torch.Generator) -> dict[str, Any]:
    """Return the states of the global generators and of `generator`, in types that `weights_only` loading accepts."""
    version, internal, gauss = random.getstate()
    _, key, position, has_gauss, numpy_gauss = np.random.get_state(legacy=True)
    assert isinstance(key, np.ndarray)
    return {
        "training": generator.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(internal), gauss],
        "numpy": {
            "key": torch.from_numpy(key.astype(np.int64)),
            "pos": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(numpy_gauss),
        },
    }


def restore_rng(state: dict[str, Any], generator: torch.Generator) -> None:
    """Restore the states that `capture_rng` returned."""
    if state["training"].shape == generator.get_state().shape:
        generator.set_state(state["training"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy = state["numpy"]
    key = numpy["key"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", key, numpy["pos"], numpy["has_gauss"], numpy["gauss"]))
