"""Progressive growing: the timetable of levels, and real images at each level (Karras et al. 2017).

N = batch, C = channels, S = side of the full image, s = side at a level, half of the next one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganserve_training.networks.blocks import coarsest_side
from ganserve_training.networks.conditioning import Conditioning
from ganserve_training.networks.config import NetworksConfig
from ganserve_training.networks.growth_state import GrowthState
from ganserve_training.options.checks import expect, refusal


@dataclass(frozen=True, kw_only=True)
class GrowthConfig(NetworksConfig):
    """An architecture that grows from 4 x 4 (7 x 7 for 28 pixels): each level fades in, then trains in full."""

    fade_kimg: float = 600.0
    """Thousands of real samples over which a new level fades in."""
    stable_kimg: float = 600.0
    """Thousands of real samples for which a level trains in full before the next one starts."""
    batch_sizes: tuple[int, ...] = ()
    """Batch size of each level from the coarsest up. Empty: --batch-size at every level; --batch-size also replaces
    those of a preset."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.fade_kimg > 0.0, "networks.fade_kimg", self.fade_kimg, "positive")
        expect(self.stable_kimg > 0.0, "networks.stable_kimg", self.stable_kimg, "positive")
        sizes = self.batch_sizes
        expect(all(size >= 1 for size in sizes), "networks.batch_sizes", _spaced(sizes), "all at least 1")

    def check_effects(self, generator: nn.Module, conditioning: Conditioning) -> None:
        """Refuse the options of growth if the networks do not grow."""
        super().check_effects(generator, conditioning)
        for name in ("fade_kimg", "stable_kimg", "batch_sizes") if stage_of(generator) is None else ():
            value = getattr(self, name)
            if value != getattr(GrowthConfig, name):
                raise refusal(f"networks.{name}", value, "needs networks that grow", "Leave it out")


@dataclass(frozen=True, slots=True)
class Phase:
    """The level at a point of the timetable."""

    level: int
    """0 for the coarsest, one more for each doubling."""
    alpha: float
    """Share of the newest level in the images; 1: fully faded in."""
    batch_size: int
    """Batch size of this level."""


class Growth:
    """The timetable: level 0 trains in full for `stable_kimg`; each further one fades in first.

    `batch_size` is used if `config` has no batch sizes; their number must be that of the levels.
    """

    def __init__(self, config: GrowthConfig, last_level: int, batch_size: int) -> None:
        sizes = config.batch_sizes or (batch_size,) * (last_level + 1)
        if len(sizes) != last_level + 1:
            problem = f"must have {last_level + 1} values, one for each level from the coarsest to the full image"
            fix = "Give as many, or one to all with --batch-size"
            raise refusal("networks.batch_sizes", _spaced(sizes), problem, fix)
        self._config = config
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
        """Return the first step at which the last level is fully in, if a step takes `critic_steps` batches."""
        seen, steps = 0, 0
        for level, size in enumerate(self._sizes):
            last = level == self.last_level
            ends = self.grown_after if last else self._stable + level * (self._fade + self._stable)
            taken = max(0, math.ceil((ends - seen) / (size * critic_steps)))
            seen, steps = seen + taken * size * critic_steps, steps + taken
        return steps + 1

    def check_steps(self, steps: int, critic_steps: int) -> None:
        """Refuse a run that ends before the networks have grown."""
        needed = self.steps_until_grown(critic_steps)
        if steps < needed:
            raise refusal(
                "steps",
                steps,
                "ends before the networks have grown to the full image, so that nothing can be exported",
                f"Use --steps {needed} or more, or less of --networks.fade-kimg ({self._config.fade_kimg:g}) and "
                f"--networks.stable-kimg ({self._config.stable_kimg:g})",
            )

    def phase(self, samples_seen: int) -> Phase:
        """Return the phase after `samples_seen` real samples."""
        level, into = divmod(max(0.0, samples_seen - self._stable), self._fade + self._stable)
        # Level 0 has no fade. After its stable phase each further level has a fade and a stable phase.
        number = 0 if samples_seen < self._stable else int(level) + 1
        if number > self.last_level:
            return Phase(self.last_level, 1.0, self._sizes[-1])
        alpha = 1.0 if number == 0 else min(1.0, into / self._fade)
        return Phase(number, alpha, self._sizes[number])


def timetable(generator: nn.Module, config: NetworksConfig, batch_size: int) -> Growth | None:
    """Return the timetable of networks that grow, or None; `batch_size` is for levels without a batch size."""
    stage = stage_of(generator)
    if stage is None or not isinstance(config, GrowthConfig):
        return None
    return Growth(config, stage.final_level, batch_size)


def stage_of(network: nn.Module) -> GrowthState | None:
    """Return the growth state of a network that grows, also inside a packed critic, or None.

    The timetable is up to one batch ahead of it: networks enter a phase with the next batch.
    """
    return next((module for module in network.modules() if isinstance(module, GrowthState)), None)


def enter_phase(network: nn.Module, phase: Phase) -> None:
    """Set the level of a network that grows, also inside a packed critic."""
    for module in network.modules():
        if isinstance(module, GrowthState):
            module.set(phase.level, phase.alpha)


def reals_at(images: Tensor, phase: Phase | GrowthState) -> Tensor:
    """Return full images [N, C, S, S] at the level of a phase, [N, C, s, s], by a box filter.

    While a level fades in, they are blended with the images of the level before, like the generator's images.
    """
    side = coarsest_side(images.shape[1:]) << phase.level
    factor = images.shape[-1] // side
    small = F.avg_pool2d(images, factor) if factor > 1 else images
    if phase.alpha >= 1.0 or phase.level == 0:
        return small
    coarse = F.interpolate(F.avg_pool2d(small, 2), scale_factor=2.0, mode="nearest")
    return torch.lerp(coarse, small, phase.alpha)


def _spaced(sizes: tuple[int, ...]) -> str:
    """Return sizes in the form of the command line."""
    return " ".join(map(str, sizes))
