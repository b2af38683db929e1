"""Remember which versions were loaded and unloaded on request, for processes that start later."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Literal

_Numbered = tuple[int, "Change"]


@dataclass(frozen=True, slots=True)
class Change:
    """A request to load or unload; version 0 stands for the latest, or all."""

    kind: Literal["reload", "load", "unload"]
    name: str = ""
    version: int = 0
    versions: tuple[int, ...] = ()
    """The versions that it changes, as far as they exist when it is asked for."""


class ChangeLog:
    """The changes that still count, each with its number. Any thread may use it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held while somebody decides by the newest change."""
        self._newest = 0
        self._changes: list[_Numbered] = []

    def add(self, change: Change) -> list[_Numbered]:
        """Note a change in place of earlier ones of the same versions; return the model's earlier ones for `remove`."""
        if change.kind == "reload":  # a process that starts reads the folder anyway
            return []
        with self.lock:
            self._newest += 1
            before = [each for each in self._changes if each[1].name == change.name]
            self._drop(change.name, set(change.versions))
            self._changes.append((self._newest, change))
        return before

    def remove(self, change: Change, before: list[_Numbered]) -> None:
        """Forget a change that could not be made; `before` are the model's earlier ones."""
        if change.kind == "reload":
            return
        with self.lock:
            others = [each for each in self._changes if each[1].name != change.name]
            self._changes = sorted([*others, *before], key=lambda each: each[0])

    def forget(self, name: str, version: int) -> None:
        """Forget what was changed of a version that has left the folder."""
        with self.lock:
            self._drop(name, {version})

    def since(self, number: int) -> tuple[int, list[Change]]:
        """Return the number of the newest change, and the changes after one, in order."""
        with self.lock:
            return self._newest, [change for at, change in self._changes if at > number]

    def _drop(self, name: str, versions: set[int]) -> None:
        kept = []
        for number, change in self._changes:
            left = tuple(version for version in change.versions if change.name != name or version not in versions)
            if left:
                kept.append((number, replace(change, versions=left)))
        self._changes = kept
