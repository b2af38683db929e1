"""What a diagnosis says."""

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
    """One thing that is going on."""

    step: int
    """The step at which it is told."""
    kind: Kind
    message: str
    """What is going on, in one sentence with its numbers."""
    advice: str
    """What to do about it, in one sentence with flags of `ganserve train`."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form: one line of diagnosis.jsonl."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """The inverse of `to_dict`."""
        return cls(**values)

    def __str__(self) -> str:
        return f"{self.kind.replace('-', ' ')} at step {self.step}: {self.message} {self.advice}"
