"""Origin of samples: what was taken, and what was passed over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Files of a data set that are not samples, or labels that no sample has."""

    count: int
    what: str
    """Words after the count: ".txt", "in test (another split)"."""

    def __str__(self) -> str:
        return f"{self.count:,} {self.what}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Origin of a set of samples."""

    labels_from: str = ""
    """Origin of its labels, in words; empty: there is nothing to say."""
    how: str = ""
    """How its files were read, in words; empty: there is nothing to say."""
    passed_over: tuple[PassedOver, ...] = ()
    """Files in the same place that were not taken."""
    total: int = 0
    """Samples on both sides of the split; 0: unknown."""

    def in_words(self, *, ignoring_labels: bool = False) -> str:
        """Return where labels come from and how files were read; empty: there is nothing to say."""
        labels_from = "labels ignored" if self.labels_from and ignoring_labels else self.labels_from
        return ", ".join(part for part in (labels_from, self.how) if part)
