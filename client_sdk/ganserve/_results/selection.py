"""Let the critic choose among samples: the rules, and the report of what they did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ganserve._errors import InvalidRequest
from ganserve._sample_options import MOST_PROPOSALS

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class BestOf:
    """Keeps the sample with the highest score of every `proposals` drawn ones: `select=BestOf(8)`.

    Raises:
        InvalidRequest: `proposals` is not an int from 1 to 1024.
    """

    proposals: int
    """Samples to draw for each that is returned, 1 to 1024."""

    def __post_init__(self) -> None:
        _check("proposals", self.proposals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Rejection sampling on calibrated probabilities (Azadi et al. 2018, "Discriminator Rejection Sampling").

    Of the samples drawn for each returned one, it keeps the first that it accepts, or the likeliest if it accepts none.

    Raises:
        InvalidRequest: `max_proposals` is not an int from 1 to 1024.
    """

    max_proposals: int = 64
    """Most samples to draw for each that is returned, 1 to 1024."""

    def __post_init__(self) -> None:
        _check("max_proposals", self.max_proposals)


Selection: TypeAlias = BestOf | Rejection
"""The critic's rule to choose among more samples than are returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionReport:
    """Counts what a selection did for a batch."""

    proposed: int
    """Samples that were drawn."""
    accepted: int
    """Returned samples that the rule accepted; for the others it accepted no proposal, and took the likeliest."""

    @property
    def acceptance_rate(self) -> float:
        """Accepted samples per sample that was drawn, 0 to 1."""
        return self.accepted / self.proposed if self.proposed else 0.0

    @classmethod
    def total(cls, reports: Iterable[SelectionReport | None]) -> SelectionReport | None:
        """Return the report of several parts together, or None if one of them has none."""
        proposed = accepted = 0
        for report in reports:
            if report is None:
                return None
            proposed, accepted = proposed + report.proposed, accepted + report.accepted
        return cls(proposed=proposed, accepted=accepted)


def proposals_per_sample(selection: Selection) -> int:
    """Return the most samples that are drawn for one that is returned."""
    return selection.proposals if isinstance(selection, BestOf) else selection.max_proposals


def _check(field: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_PROPOSALS:
        raise InvalidRequest.of("select", f"has {field} = {value!r}; expected an int from 1 to {MOST_PROPOSALS}")
