"""What each section is given."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from budget import Budget
    from subjects import Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """Where to measure, what, and for how long."""

    device: Literal["cuda", "cpu"]
    subjects: tuple[Subject, ...]
    budget: Budget
    folder: Path
    """For temporary files."""
    save: Callable[[], None]
    """Writes what there is so far."""
    rounds: int

    @property
    def small(self) -> bool:
        """Whether this only tries the code out."""
        return self.device == "cpu"

    def sizes(self, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """Batch sizes, or what stands for them where only the code is tried out."""
        return tuple(dict.fromkeys(min(size, 2) for size in wanted)) if self.small else wanted

    @property
    def cell_s(self) -> float:
        """How long calls of one kind are repeated, at least three of them."""
        return 0.0 if self.small else 0.25
