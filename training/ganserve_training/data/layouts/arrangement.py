"""Samples of a data set as its layout gives them."""

from __future__ import annotations

from dataclasses import dataclass

from ganserve_training.data.origin import PassedOver


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrangement:
    """The pictures to take, and their labels."""

    files: list[str]
    """Paths below the data set's place."""
    labels: list[str] | None
    """A name for each file; None: they have no labels."""
    how: str
    """Origin of the labels, in words."""
    passed_over: list[PassedOver]
    """Pictures that are not taken, and why."""
    used: tuple[str, ...] = ()
    """Other files that were read, such as an index of labels."""
