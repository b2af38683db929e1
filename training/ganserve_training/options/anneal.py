"""Values that change over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Anneal:
    """A hyper-parameter that moves from one value to another over `schedule.burn_in_steps`, then stays there."""

    start: float
    """Value at step 0."""
    end: float
    """Value after the burn-in; the same as start: constant."""

    def __str__(self) -> str:
        return f"{self.start:g}" if self.start == self.end else f"{self.start:g} to {self.end:g}"

    @classmethod
    def constant(cls, value: float) -> Anneal:
        """Return a hyper-parameter that stays at `value`."""
        return cls(start=value, end=value)

    @property
    def least(self) -> float:
        """The smaller end."""
        return min(self.start, self.end)

    @property
    def most(self) -> float:
        """The larger end; 0 switches the hyper-parameter off for the whole run."""
        return max(self.start, self.end)

    def at(self, progress: float) -> float:
        """Return the value after `progress` in [0, 1] of the burn-in: from start to end along half a cosine."""
        weight = 0.5 - 0.5 * math.cos(math.pi * progress)
        return self.start + (self.end - self.start) * weight
