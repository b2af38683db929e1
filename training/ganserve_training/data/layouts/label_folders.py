"""The layout of most picture sets: a folder for each label, perhaps below train and test, or no labels at all."""

from __future__ import annotations

from ganserve_training.data.layouts.arrangement import Arrangement
from ganserve_training.data.layouts.split_names import Parts, Splits, find_splits
from ganserve_training.data.layouts.tree import Tree
from ganserve_training.data.origin import PassedOver
from ganserve_training.errors import DataError


def label_folders(tree: Tree, where: str, *, use_labels: bool, is_archive: bool) -> Arrangement:
    """Return the pictures of the training part, with the first folder of each as its label.

    A folder around everything (photos/cat, photos/dog) is not a label: it is passed through where it holds two or more
    folders and no picture of its own, in an archive always.

    Args:
        tree: The data set.
        where: Its place, for messages.
        use_labels: The labels are wanted.
        is_archive: The place is an archive, which often holds one folder around everything.

    Raises:
        DataError: `use_labels` is set, and a picture has no label or a label no picture; or there is no training part.
    """
    folders = [_parts(folder) for folder in tree.folders]
    splits = find_splits(folders)
    if len(splits.held_out) > 1:
        names = " and ".join(splits.held_out)
        raise DataError(
            f"{where} holds only {names}, and no train: name the part to learn from with --data, such as "
            f"{where}/{splits.held_out[0]}"
        )
    inner = {file: path for file in tree.files if (path := _inner(splits, _parts(file))) is not None}
    inner_folders = {folder: path for folder in folders if (path := splits.inner(folder)) is not None}
    around = _around(list(inner.values()), list(inner_folders.values()), is_archive=is_archive)
    passed_over = _passed_over(tree, splits)
    files = list(inner)
    labels = [path[around] if len(path) > around + 1 else "" for path in inner.values()]
    if not any(labels):
        return Arrangement(files=files, labels=None, how="no labels", passed_over=passed_over)
    if use_labels:
        outer = next(iter(inner.values()))[:around]
        inside = ((path, folder) for folder, path in inner_folders.items() if path[:around] == outer)
        expected = {path[around]: "/".join(folder) for path, folder in inside if len(path) == around + 1}
        _expect_one_label_each(tree, where, dict(zip(files, labels, strict=True)), expected)
    first = next(iter(inner))
    depth = len(_parts(first)) - (len(inner[first]) - around)  # Folders around those of the labels.
    place = "/".join(_parts(first)[:depth])
    how = f"labels are the folders in {place}" if place else "labels are the folders"
    return Arrangement(files=files, labels=labels, how=how, passed_over=passed_over)


def _parts(path: str) -> Parts:
    return tuple(path.split("/"))


def _inner(splits: Splits, file: Parts) -> Parts | None:
    """Return a file's path in the training part; None: it is outside, or beside a training part."""
    folder = splits.inner(file[:-1])
    return None if folder is None or _is_beside(splits, file) else (*folder, file[-1])


def _is_beside(splits: Splits, file: Parts) -> bool:
    return any(len(path) == len(file) and path[:-1] == file[:-1] for path in splits.training)


def _around(files: list[Parts], folders: list[Parts], *, is_archive: bool) -> int:
    """Return how many folders lie around everything: all down to the first that holds several folders."""
    around = depth = 0
    while files and all(len(path) > depth + 1 for path in files) and len({path[depth] for path in files}) == 1:
        loose = any(len(path) == depth + 2 for path in files)
        labels = {path[depth + 1] for path in folders if len(path) > depth + 1 and path[depth] == files[0][depth]}
        depth += 1
        if (is_archive and depth == 1) or (not loose and len(labels) > 1):
            around = depth
        elif loose:
            break
    return around


def _passed_over(tree: Tree, splits: Splits) -> list[PassedOver]:
    files = [_parts(file) for file in tree.files]
    beside = sum(splits.inner(file[:-1]) is not None and _is_beside(splits, file) for file in files)
    found = splits.passed_over(file[:-1] for file in files)
    return [*found, PassedOver(beside, "beside the folder of the training split")] if beside else found


def _expect_one_label_each(tree: Tree, where: str, labels: dict[str, str], expected: dict[str, str]) -> None:
    """Check that every picture is in a folder of a label, and that every such folder has a picture.

    `labels` has the label of each picture, `expected` the folder of each label.
    """
    if first := next((file for file, label in labels.items() if not label), None):
        raise DataError(
            f"{where} holds images beside its sub-folders, such as {first}, which have no label: move them into one, "
            "or learn without labels: --data.labels ignore"
        )
    empty = sorted(set(expected) - set(labels.values()))
    if empty:
        folder = expected[empty[0]]
        links = ", besides links to what other labels have" if tree.passed_over else ""
        raise DataError(
            f"the label {empty[0]!r} has no images: {tree.name(folder)} holds none{links}; remove the folder, or learn "
            "without labels: --data.labels ignore"
        )
