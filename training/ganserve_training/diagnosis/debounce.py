"""Says a thing once: when it has lasted, and again only after it was gone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ganserve_training.diagnosis.findings import KINDS, Kind

PERSISTENCE = 3
"""Looks in a row for which a condition must hold before it is told, and be absent before it counts as gone: one look
may be an accident of its 256 samples."""


class Debounce:
    """Follows which conditions hold from look to look."""

    def __init__(self) -> None:
        self._streaks = dict.fromkeys(KINDS, 0)  # Looks in a row: positive with the condition, negative without.
        self._lasting: set[Kind] = set()

    @property
    def lasting(self) -> frozenset[Kind]:
        """What has been told and has not gone since."""
        return frozenset(self._lasting)

    def feed(self, conditions: Collection[Kind]) -> list[Kind]:
        """Take the conditions of one more look; returns those to be told now."""
        told = []
        for kind in KINDS:
            before = self._streaks[kind]
            streak = max(before, 0) + 1 if kind in conditions else min(before, 0) - 1
            self._streaks[kind] = streak
            if streak >= PERSISTENCE and kind not in self._lasting:
                self._lasting.add(kind)
                told.append(kind)
            elif streak <= -PERSISTENCE:
                self._lasting.discard(kind)
        return told

    def streak(self, kind: Kind) -> int:
        """For how many looks in a row the condition has held, 0: it does not."""
        return max(self._streaks[kind], 0)

    def state_dict(self) -> dict[str, Any]:
        """In plain values."""
        return {"streaks": dict(self._streaks), "lasting": sorted(self._lasting)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._streaks = {kind: state["streaks"].get(kind, 0) for kind in KINDS}
        self._lasting = set(state["lasting"])
