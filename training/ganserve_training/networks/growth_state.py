"""How far a progressively grown network has grown."""

import torch
from torch import Tensor, nn

from ganserve_training.errors import UnfinishedNetworkError


class GrowthState(nn.Module):
    """The level that a network works at, and how far it is faded in; part of the network's state.

    Plain numbers, not tensors, so that no branch on them waits for a device or stands in the way of an export.

    Args:
        final_level: Level L makes images of 4 * 2^L pixels; a fresh network is fully grown.
    """

    def __init__(self, final_level: int) -> None:
        super().__init__()
        self.final_level = final_level
        self.level = final_level
        """0 (4 x 4) to `final_level`."""
        self.alpha = 1.0
        """Share of the level in what leaves or enters the network; the rest is the level's before it."""

    def set(self, level: int, alpha: float) -> None:
        """Grow to a level.

        Raises:
            ValueError: There is no such level, or alpha is not from 0 to 1.
        """
        if not 0 <= level <= self.final_level:
            raise ValueError(f"this network has levels 0 to {self.final_level} (got {level})")
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha is the share of the new level, from 0 to 1 (got {alpha})")
        self.level, self.alpha = int(level), float(alpha)

    @property
    def fading(self) -> bool:
        """Whether the level before takes part."""
        return self.level > 0 and self.alpha < 1.0

    @property
    def grown(self) -> bool:
        """Whether the final level is fully in."""
        return self.level == self.final_level and not self.fading

    def check_grown(self) -> None:
        """Raise UnfinishedNetworkError unless the final level is fully in."""
        if not self.grown:
            raise UnfinishedNetworkError(
                f"this network is still growing: level {self.level} of {self.final_level} "
                f"({4 << self.level} of {4 << self.final_level} pixels), {self.alpha:.0%} faded in; train on until the "
                "last level is fully in"
            )

    def get_extra_state(self) -> Tensor:
        """[level, alpha], float64."""
        return torch.tensor([self.level, self.alpha], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """What `get_extra_state` gave."""
        level, alpha = state.tolist()
        self.set(int(level), alpha)

    def extra_repr(self) -> str:
        """For print."""
        return f"level={self.level}, alpha={self.alpha:.3g}, final_level={self.final_level}"
