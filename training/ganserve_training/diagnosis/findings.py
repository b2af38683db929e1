"""Define findings: what a diagnosis reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Kind = Literal[
    "vanishing-gradients",
    "no-progress",
    "mode-collapse",
    "oscillation",
    "critic-overfitting",
    "divergence",
    "convergence",
    "decline",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A condition of the run that is worth reporting."""

    step: int
    """Step at which it is reported."""
    kind: Kind
    message: str
    """One sentence with the numbers of the condition."""
    advice: str
    """Advice in one or two sentences, with flags of `ganserve train`."""

    def to_dict(self) -> dict[str, Any]:
        """Return one line of diagnosis.jsonl as a dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """Read what `to_dict` wrote."""
        return cls(**values)

    def __str__(self) -> str:
        return f"{self.kind.replace('-', ' ')} at step {self.step}: {self.message} {self.advice}"
