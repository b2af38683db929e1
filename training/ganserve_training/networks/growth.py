"""Progressive growing: which level trains when, and what the reals look like there (Karras et al. 2017).

N = batch, C = channels, S = side of the full image, s = side at a level, 4 * 2^level.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.config import NetworksConfig
from ganserve_training.networks.growth_state import GrowthState
from ganserve_training.options.checks import expect, refusal


@dataclass(frozen=True, kw_only=True)
class GrowthConfig(NetworksConfig):
    """When networks grow: each level fades in, then trains in full; levels start at 4 x 4."""

    fade_kimg: float = 600.0
    """Thousand real samples over which a new level is faded in."""
    stable_kimg: float = 600.0
    """Thousand real samples for which a level trains in full before the next one."""
    batch_sizes: tuple[int, ...] = ()
    """Batch size of each level from 4 x 4 up, in place of batch_size; empty: batch_size at every level. On the command
    line --batch-size takes the place of a preset's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.fade_kimg > 0.0, "networks.fade_kimg", self.fade_kimg, "positive")
        expect(self.stable_kimg > 0.0, "networks.stable_kimg", self.stable_kimg, "positive")
        sizes = self.batch_sizes
        expect(all(size >= 1 for size in sizes), "networks.batch_sizes", _spaced(sizes), "all at least 1")


@dataclass(frozen=True, slots=True)
class Phase:
    """Where growing stands."""

    level: int
    """0: 4 x 4, and one more for each doubling."""
    alpha: float
    """Share of the newest level in what is seen; 1: fully faded in."""
    batch_size: int
    """Of this level."""


class Growth:
    """The timetable: level 0 trains in full for `stable_kimg`; each further one fades in first.

    Args:
        config: Lengths and batch sizes.
        last_level: The level of the full image.
        batch_size: Where `config` has none of its own.

    Raises:
        ConfigError: The number of batch sizes isn't that of levels.
    """

    def __init__(self, config: GrowthConfig, last_level: int, batch_size: int) -> None:
        sizes = config.batch_sizes or (batch_size,) * (last_level + 1)
        if len(sizes) != last_level + 1:
            raise refusal(
                "networks.batch_sizes",
                _spaced(sizes),
                f"must have {last_level + 1} values, one for each level from 4 x 4 to {4 << last_level} x "
                f"{4 << last_level}",
                "Give as many, or one to all with --batch-size",
            )
        self._sizes = sizes
        self._fade = config.fade_kimg * 1000.0
        self._stable = config.stable_kimg * 1000.0
        self.last_level = last_level
        """The level of the full image."""

    @property
    def grown_after(self) -> float:
        """Real samples after which the last level is fully faded in."""
        return (self._stable + self._fade) * self.last_level

    def steps_until_grown(self, critic_steps: int) -> int:
        """Training steps of which the last is the first one with the last level fully in.

        Args:
            critic_steps: Batches that the critic is shown in one step.
        """
        seen, steps = 0, 0
        for level, size in enumerate(self._sizes):
            last = level == self.last_level
            ends = self.grown_after if last else self._stable + level * (self._fade + self._stable)
            taken = max(0, math.ceil((ends - seen) / (size * critic_steps)))
            seen, steps = seen + taken * size * critic_steps, steps + taken
        return steps + 1

    def phase(self, samples_seen: int) -> Phase:
        """Return the phase after so many real samples."""
        level, into = divmod(max(0.0, samples_seen - self._stable), self._fade + self._stable)
        # Level 0 has no fade: what comes after its stable phase are cycles of fade and stable for levels 1, 2, …
        number = 0 if samples_seen < self._stable else int(level) + 1
        if number > self.last_level:
            return Phase(self.last_level, 1.0, self._sizes[-1])
        alpha = 1.0 if number == 0 else min(1.0, into / self._fade)
        return Phase(number, alpha, self._sizes[number])


def timetable(generator: nn.Module, config: NetworksConfig, batch_size: int) -> Growth | None:
    """Return the timetable of networks that grow; None: they don't.

    Args:
        generator: One of the networks.
        config: Their configuration.
        batch_size: Of the levels that have none of their own.

    Raises:
        ConfigError: The number of batch sizes isn't that of levels.
    """
    levels = growing_levels(generator)
    return Growth(config, levels, batch_size) if levels is not None and isinstance(config, GrowthConfig) else None


def stage_of(network: nn.Module) -> GrowthState | None:
    """Return where a network that grows stands, within a packed critic or not; None: it doesn't grow.

    The timetable is ahead of it by up to a batch: networks enter a phase with the batch after.
    """
    return next((module for module in network.modules() if isinstance(module, GrowthState)), None)


def growing_levels(network: nn.Module) -> int | None:
    """Return the last level of a network that grows; None: it doesn't."""
    stage = stage_of(network)
    return None if stage is None else stage.final_level


def enter_phase(network: nn.Module, phase: Phase) -> None:
    """Let a network that grows, within a packed critic or not, work at a phase's level."""
    for module in network.modules():
        if isinstance(module, GrowthState):
            module.set(phase.level, phase.alpha)


def reals_at(images: Tensor, phase: Phase | GrowthState) -> Tensor:
    """Full images [N, C, S, S] as the critic of a phase takes them, [N, C, s, s].

    They are box-filtered down; while a level fades in, they are blended with what the level before would have shown,
    as the generator's images are.
    """
    side = 4 << phase.level
    factor = images.shape[-1] // side
    small = F.avg_pool2d(images, factor) if factor > 1 else images
    if phase.alpha >= 1.0 or phase.level == 0:
        return small
    coarse = F.interpolate(F.avg_pool2d(small, 2), scale_factor=2.0, mode="nearest")
    return torch.lerp(coarse, small, phase.alpha)


def _spaced(sizes: tuple[int, ...]) -> str:
    """Show sizes as the command line takes them."""
    return " ".join(map(str, sizes))
