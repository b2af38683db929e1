"""Describe the values of a latent."""

import enum
from dataclasses import dataclass


class Distribution(enum.Enum):
    """The distribution of each latent value."""

    NORMAL = "normal"
    UNIFORM = "uniform"


@dataclass(frozen=True, slots=True)
class Control:
    """A latent value that a request may set; otherwise it has its default, or is uniform on [low, high)."""

    name: str
    index: int
    """Its position in the latent."""
    low: float
    high: float
    default: float | None = None
