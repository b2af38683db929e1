"""State of a network that grows: its level, and the share of that level in the images."""

import torch
from torch import Tensor, nn

from ganserve_training.errors import UnfinishedNetworkError


class GrowthState(nn.Module):
    """The current level of a network, and its share; saved with the network's state.

    At level L images have `first_side` * 2^L pixels. A new network is fully grown. Level and share are plain numbers,
    not tensors, so that a branch on them neither waits for a device nor prevents an export.
    """

    def __init__(self, final_level: int, first_side: int = 4) -> None:
        super().__init__()
        self.first_side = first_side
        self.final_level = final_level
        self.level = final_level
        """0 (the coarsest) to `final_level`."""
        self.alpha = 1.0
        """Share of the level in the images; the rest comes from the level before."""

    def set(self, level: int, alpha: float) -> None:
        """Set the level, 0 to `final_level`, and its share `alpha`, 0 to 1, else raise ValueError."""
        if not 0 <= level <= self.final_level:
            raise ValueError(f"this network has levels 0 to {self.final_level} (got {level})")
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha is the share of the new level, from 0 to 1 (got {alpha})")
        self.level, self.alpha = int(level), float(alpha)

    @property
    def side(self) -> int:
        """Height and width of the images at the current level."""
        return self.first_side << self.level

    @property
    def fading(self) -> bool:
        """True while the level before contributes."""
        return self.level > 0 and self.alpha < 1.0

    @property
    def grown(self) -> bool:
        """True once the final level is fully in."""
        return self.level == self.final_level and not self.fading

    @property
    def standing(self) -> str:
        """The level and its share in words."""
        pixels = f"{self.side} of {self.first_side << self.final_level} pixels"
        return f"level {self.level} of {self.final_level} ({pixels}), {self.alpha:.0%} faded in"

    def check_grown(self) -> None:
        """Raise UnfinishedNetworkError unless the final level is fully in."""
        if not self.grown:
            raise UnfinishedNetworkError(
                f"this network is still growing: {self.standing}. Train on until it has grown."
            )

    def get_extra_state(self) -> Tensor:
        """Return [level, alpha], float64."""
        return torch.tensor([self.level, self.alpha], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Set the state that `get_extra_state` returned."""
        level, alpha = state.tolist()
        self.set(int(level), alpha)

    def extra_repr(self) -> str:
        """Return the text for print."""
        return f"level={self.level}, alpha={self.alpha:.3g}, final_level={self.final_level}"
