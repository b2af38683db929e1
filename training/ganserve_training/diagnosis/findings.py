"""Define findings, and report a lasting condition once; report it again only after it has ended."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal[
    "vanishing-gradients",
    "no-progress",
    "idle-critic",
    "winning-critic",
    "mode-collapse",
    "ignored-labels",
    "low-precision",
    "low-recall",
    "oscillation",
    "critic-overfitting",
    "divergence",
    "convergence",
    "decline",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
PERSISTENCE = 3
"""Looks in a row that start or end a condition: the 256 samples of one look may mislead."""
EXPLAINED_BY: dict[Kind, frozenset[Kind]] = {
    "idle-critic": frozenset({"vanishing-gradients", "divergence"}),
    "winning-critic": frozenset({"vanishing-gradients", "no-progress", "mode-collapse", "divergence"}),
    "ignored-labels": frozenset({"idle-critic", "mode-collapse"}),
    "low-precision": frozenset(
        {"vanishing-gradients", "no-progress", "idle-critic", "winning-critic", "mode-collapse", "divergence"}
    ),
    "low-recall": frozenset(
        {
            *("vanishing-gradients", "no-progress", "idle-critic", "winning-critic", "mode-collapse", "divergence"),
            "low-precision",
        }
    ),
}
"""Conditions that do not begin beside the ones that explain them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A condition of the run that is worth reporting; its fields make one line of diagnosis.jsonl."""

    step: int
    """Step at which it is reported."""
    kind: Kind
    message: str
    """One sentence with the numbers of the condition."""
    advice: str
    """Advice in one or two sentences, with flags of `ganserve train`; empty for an end."""
    over: bool = False
    """True if this reports the condition's end."""

    def __str__(self) -> str:
        words = self.kind.replace("-", " ")
        if self.over:
            gone = "no longer converged" if self.kind == "convergence" else f"recovered from {words}"
            return f"{gone} at step {self.step}: {self.message}"
        return f"{words} at step {self.step}: {self.message} {self.advice}"


@dataclass(frozen=True, slots=True)
class Changes:
    """Conditions to report now."""

    begun: tuple[Kind, ...]
    ended: tuple[Kind, ...]


class Debounce:
    """Follow which conditions hold from look to look."""

    def __init__(self) -> None:
        self._streaks = dict.fromkeys(KINDS, 0)  # looks in a row: positive with the condition, negative without
        self._lasting: set[Kind] = set()

    @property
    def lasting(self) -> frozenset[Kind]:
        """Return the conditions that were reported and have not ended."""
        return frozenset(self._lasting)

    def feed(self, conditions: Collection[Kind]) -> Changes:
        """Take the conditions of one more look, and return those that begin or end with it."""
        begun, ended = [], []
        for kind in KINDS:
            before = self._streaks[kind]
            streak = max(before, 0) + 1 if kind in conditions else min(before, 0) - 1
            self._streaks[kind] = streak
            if streak >= PERSISTENCE and kind not in self._lasting:
                self._lasting.add(kind)
                begun.append(kind)
            elif streak <= -PERSISTENCE and kind in self._lasting:
                self._lasting.discard(kind)
                ended.append(kind)
        return Changes(tuple(begun), tuple(ended))

    def streak(self, kind: Kind) -> int:
        """Return the number of looks in a row at which the condition has held; 0: it does not hold."""
        return max(self._streaks[kind], 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the state in plain values."""
        return {"streaks": dict(self._streaks), "lasting": sorted(self._lasting)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._streaks = {kind: state["streaks"].get(kind, 0) for kind in KINDS}
        self._lasting = set(state["lasting"])
