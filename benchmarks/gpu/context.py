"""The arguments of a section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from subjects import Subject
    from time_budget import Budget


@dataclass(frozen=True, kw_only=True)
class Context:
    """Place, subject and length of a measurement."""

    device: Literal["cuda", "cpu"]
    subjects: tuple[Subject, ...]
    budget: Budget
    folder: Path
    """For temporary files."""
    save: Callable[[], None]
    """Write the figures so far."""
    rounds: int

    @property
    def small(self) -> bool:
        """True for a dry run."""
        return self.device == "cpu"

    def sizes(self, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """Return the batch sizes, at most 2 in a dry run."""
        return tuple(dict.fromkeys(min(size, 2) for size in wanted)) if self.small else wanted

    @property
    def cell_s(self) -> float:
        """Seconds for which calls of one kind are repeated, at least three times."""
        return 0.0 if self.small else 0.25
