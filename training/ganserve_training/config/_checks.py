"""How a configuration refuses a value: with its name, what is expected, and what it got."""

from __future__ import annotations

from ganserve_training.config.anneal import Anneal
from ganserve_training.errors import ConfigError


def expect(holds: bool, name: str, value: object, expected: str) -> None:
    """Raise ConfigError unless `holds`."""
    if not holds:
        raise ConfigError(f"{name} must be {expected} (got {value})")


def expect_seed(name: str, seed: int) -> None:
    """A seed is a number that every generator of random numbers takes."""
    expect(0 <= seed < 2**63, name, seed, "at least 0 and less than 2^63")


def expect_not_negative(name: str, value: Anneal | float) -> None:
    """A weight or a strength, annealed or not."""
    least = min(value.start, value.end) if isinstance(value, Anneal) else value
    expect(least >= 0.0, name, value, "not negative")
