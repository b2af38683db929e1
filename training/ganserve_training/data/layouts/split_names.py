"""Tell the training part of a data set from its other parts by the names of folders and files."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from ganserve_training.data.origin import PassedOver

Parts = tuple[str, ...]
"""A path below the data set's place, part by part."""

_NAME = re.compile(
    r"(?P<before>(?:.*[-_. ])?)"
    r"(?P<word>train(?:ing)?|tests?(?:ing)?|val|valid|validation|eval|evaluation|dev|holdout|held[-_]?out)"
    r"(?P<after>(?:[-_. ]?set)?(?:[-_. ].*|\d*))",
    re.IGNORECASE,
)
_SHARD = re.compile(r"[-_.](\d+-of-\d+|\d+)(-[0-9a-f]{8,})?$")


@dataclass(frozen=True, slots=True)
class SplitName:
    """A name that says which part of a data set it is: "train", "seg_test", "val2017"."""

    kind: Literal["train", "held out"]
    rest: tuple[str, str]
    """The name without that word and a lone number after it, which the parts of one set share."""


def split_of(name: str) -> SplitName | None:
    """Return the part that a folder's name or a file's, without its ending, stands for; None: none."""
    match = _NAME.fullmatch(_SHARD.sub("", name))
    if match is None:
        return None
    kind: Literal["train", "held out"] = "train" if match["word"].lower().startswith("train") else "held out"
    after = "" if match["after"].isdigit() else match["after"].lower()  # train beside test1
    return SplitName(kind, (match["before"].lower(), after))


@dataclass(slots=True)
class Splits:
    """Parts of a tree: what belongs to the training part, and what does not."""

    training: set[Parts] = field(default_factory=set)
    """Paths of training parts."""
    excluded: dict[Parts, str] = field(default_factory=dict)
    """Paths of what is not taken, and why."""
    held_out: list[str] = field(default_factory=list)
    """Names of the other parts at the top, if there is nothing else."""

    def inner(self, path: Parts) -> Parts | None:
        """Return a path without the names of training parts; None: it is not in the training part."""
        if self._outside(path) is not None:
            return None
        return tuple(part for depth, part in enumerate(path, start=1) if path[:depth] not in self.training)

    def passed_over(self, paths: Iterable[Parts]) -> list[PassedOver]:
        """Count the paths that are not in the training part, by the part that they are in."""
        counts = Counter(place for path in paths if (place := self._outside(path)) is not None)
        return [
            PassedOver(count, f"in {'/'.join(place)} ({self.excluded[place]})")
            for place, count in sorted(counts.items())
        ]

    def _outside(self, path: Parts) -> Parts | None:
        places = (path[:depth] for depth in range(1, len(path) + 1))
        return next((place for place in places if place in self.excluded), None)


def find_splits(paths: Iterable[Parts], *, lone_train: bool = False) -> Splits:
    """Find the training part of a data set, at each depth.

    Where a training part lies beside another part of the same set (train beside test, seg_train beside seg_test),
    everything beside it is excluded. Where there is nothing but a training part, it is passed through.

    Args:
        paths: Folders, or files without their endings.
        lone_train: A training part excludes what is beside it, even if that has no name of a part.
    """
    children: defaultdict[Parts, set[str]] = defaultdict(set)
    for path in paths:
        for depth in range(len(path)):
            children[path[:depth]].add(path[depth])
    splits = Splits()

    def visit(place: Parts) -> None:
        names = sorted(children.get(place, ()))
        found = {name: split for name in names if (split := split_of(name)) is not None}
        trains = {name: split.rest for name, split in found.items() if split.kind == "train"}
        others = {name: split.rest for name, split in found.items() if split.kind == "held out"}
        taken = {name for name, rest in trains.items() if lone_train or rest in others.values()}
        if len(trains) == len(names):
            taken = set(trains)
        if not place and others and len(others) == len(names):
            splits.held_out = names
        for name in names:
            path = (*place, name)
            if taken and name not in taken:
                splits.excluded[path] = "another split" if name in found else "beside the training split"
                continue
            if taken:
                splits.training.add(path)
            visit(path)

    visit(())
    return splits
