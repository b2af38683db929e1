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

    def add(self, change: Change) -> None:
        """Note a change, in place of those that it overrides."""
        if change.kind == "reload":  # a process that starts reads the folder anyway
            return
        with self.lock:
            self._newest += 1
            kept = [(number, old) for number, old in self._changes if not _overrides(change, old)]
            self._changes = [*kept, (self._newest, change)]

    def remove(self, change: Change) -> None:
        """Forget a change that could not be made."""
        with self.lock:
            self._changes = [(number, old) for number, old in self._changes if old is not change]

    def since(self, number: int) -> tuple[int, list[Change]]:
        """Return the number of the newest change, and the changes after one, in order."""
        with self.lock:
            return self._newest, [change for at, change in self._changes if at > number]


def _overrides(new: Change, old: Change) -> bool:
    return new.name == old.name and new.version in (0, old.version)
