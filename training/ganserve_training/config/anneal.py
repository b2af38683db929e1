"""Values that change over a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Anneal:
    """A hyper-parameter that moves from one value to another over `schedule.burn_in_steps`, then stays there."""

    start: float
    """Value at step 0."""
    end: float
    """Value after the burn-in; the same as start: constant."""

    def __str__(self) -> str:
        """Plain, for messages."""
        return f"{self.start:g}" if self.start == self.end else f"{self.start:g} to {self.end:g}"

    @classmethod
    def constant(cls, value: float) -> Anneal:
        """A hyper-parameter that stays at `value`."""
        return cls(start=value, end=value)

    @property
    def most(self) -> float:
        """The larger of both ends; 0: switched off for the whole run."""
        return max(self.start, self.end)
