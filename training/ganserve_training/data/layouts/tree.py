"""Files of a data set, in a folder or in an archive, and what is passed over among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from ganserve_training.data.origin import PassedOver

_NAMED = 8


class Tree(Protocol):
    """Files below one place; threads and processes may read it at the same time."""

    files: list[str]
    """Wanted files, as paths with forward slashes below the place, sorted."""
    others: list[str]
    """Files of other kinds, in the same form."""
    folders: list[str]
    """All folders, in the same form."""
    passed_over: list[PassedOver]
    """Parts that the tree itself leaves out: repeated links, and entries that are neither files nor folders."""

    def name(self, file: str) -> str:
        """Return a file's path for messages."""

    def read(self, file: str) -> bytes:
        """Return a file's content, or raise UnreadableError."""

    def sources(self, files: Iterable[str]) -> list[Path]:
        """Return the real files that hold these."""


@dataclass(slots=True)
class Listing:
    """Collects the entries of a tree."""

    endings: Sequence[str]
    files: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def add(self, file: str) -> None:
        """Add a file to the wanted ones or to the others."""
        (self.files if ending(file) in self.endings else self.others).append(file)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is left out, such as .git and what macOS adds to archives."""
    return name.startswith(".") or name == "__MACOSX"


def ending(file: str) -> str:
    """Return a file's ending in lower case, with its dot; empty: it has none."""
    return PurePosixPath(file).suffix.lower()


def by_ending(files: Iterable[str]) -> list[PassedOver]:
    """Count files by their endings, most frequent first; the rest together."""
    counts = Counter(ending(file) or "without an ending" for file in files).most_common()
    found = [PassedOver(count, what) for what, count in counts[:_NAMED]]
    rest = sum(count for _, count in counts[_NAMED:])
    return [*found, PassedOver(rest, "with other endings")] if rest else found
