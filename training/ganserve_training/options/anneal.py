"""Values that change during a run."""

import math
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Anneal:
    """A value that moves from `start` to `end` over `schedule.burn_in_steps`, then stays there."""

    start: float
    """Value at step 0."""
    end: float
    """Value after the burn-in. Constant if it equals start."""

    def __str__(self) -> str:
        return f"{self.start:g}" if self.start == self.end else f"{self.start:g} to {self.end:g}"

    @classmethod
    def constant(cls, value: float) -> Self:
        """Return a value that does not change."""
        return cls(start=value, end=value)

    @property
    def least(self) -> float:
        """The smaller of the two values."""
        return min(self.start, self.end)

    @property
    def most(self) -> float:
        """The larger of the two values; 0 means off for the whole run."""
        return max(self.start, self.end)

    def at(self, progress: float) -> float:
        """Return the value after `progress` in [0, 1] of the burn-in: from start to end along half a cosine."""
        weight = 0.5 - 0.5 * math.cos(math.pi * progress)
        return self.start + (self.end - self.start) * weight
