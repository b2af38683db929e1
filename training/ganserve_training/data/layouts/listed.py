"""The layout of pictures that a table lists."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from ganserve_training.data.label_table import LabelTable
from ganserve_training.data.layouts.arrangement import Arrangement
from ganserve_training.data.layouts.split_names import find_splits
from ganserve_training.data.layouts.tree import Tree
from ganserve_training.data.origin import PassedOver


def listed(tree: Tree, root: Path, table: Path, found: LabelTable) -> Arrangement:
    """Return the files that a table of files and labels lists; a file that is not there is found bad later.

    Files are relative to `root`, or to the table's folder below it; else they are found by their names alone, with or
    without ending, where that is unique, at least in the training part.

    Args:
        tree: The pictures.
        root: Their place.
        table: The table.
        found: What it lists.
    """
    places = _Places(tree, root, table)
    files = [places.of(file) for file, _ in found.rows]
    rest = len(set(tree.files) - set(files))
    passed_over = [PassedOver(rest, f"not listed in {table.name}")] if rest else []
    return Arrangement(
        files=files,
        labels=[label for _, label in found.rows] if found.is_labelled else None,
        how=f"labels from {table}" if found.is_labelled else f"pictures that {table} lists",
        passed_over=[*found.passed_over, *passed_over],
        used=tuple(file for file in tree.others if (root / file) == table),
    )


class _Places:
    """Finds the pictures of a tree by how tables name them."""

    def __init__(self, tree: Tree, root: Path, table: Path) -> None:
        self._files = set(tree.files)
        self._root = root.absolute()
        beside = table.absolute().parent
        self._beside = beside.relative_to(self._root).as_posix() if beside.is_relative_to(self._root) else "."
        self._splits = find_splits(tuple(folder.split("/")) for folder in tree.folders)
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for file in tree.files:
            path = PurePosixPath(file)
            self._by_name[path.name].append(file)
            self._by_name[path.stem].append(file)

    def of(self, name: str) -> str:
        """Return the path of a picture below the root; the name itself if there is none."""
        path = name.replace("\\", "/").removeprefix("./")
        if Path(path).is_absolute() and Path(path).is_relative_to(self._root):
            path = Path(path).relative_to(self._root).as_posix()
        for file in (name, path, PurePosixPath(self._beside, path).as_posix()):
            if file in self._files:
                return file
        same = self._by_name.get(PurePosixPath(path).name, [])
        if len(same) > 1:
            same = [file for file in same if self._splits.inner(tuple(file.split("/")[:-1])) is not None]
        return same[0] if len(same) == 1 else path
