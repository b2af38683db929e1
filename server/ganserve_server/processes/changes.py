"""Remember which versions were loaded and unloaded on request, for processes that start later."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Change:
    """A request to load or unload; version 0 stands for the latest, or all."""

    kind: Literal["reload", "load", "unload"]
    name: str = ""
    version: int = 0


class ChangeLog:
    """The changes that still count, each with its number. Any thread may use it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held while somebody decides by the newest change."""
        self._newest = 0
        self._changes: list[tuple[int, Change]] = []

    def add(self, change: Change) -> list[tuple[int, Change]]:
        """Note a change in place of those that it overrides, and return these for `remove`."""
        if change.kind == "reload":  # a process that starts reads the folder anyway
            return []
        with self.lock:
            self._newest += 1
            overridden = [(number, old) for number, old in self._changes if _overrides(change, old)]
            kept = [each for each in self._changes if each not in overridden]
            self._changes = [*kept, (self._newest, change)]
        return overridden

    def remove(self, change: Change, overridden: list[tuple[int, Change]]) -> None:
        """Forget a change that could not be made, and remember again those that it overrode."""
        with self.lock:
            kept = [(number, old) for number, old in self._changes if old is not change]
            self._changes = sorted([*kept, *overridden], key=lambda each: each[0])

    def since(self, number: int) -> tuple[int, list[Change]]:
        """Return the number of the newest change, and the changes after one, in order."""
        with self.lock:
            return self._newest, [change for at, change in self._changes if at > number]


def _overrides(new: Change, old: Change) -> bool:
    return new.name == old.name and new.version in (0, old.version)
