"""StyleGAN's layout: dataset.json beside numbered folders of pictures (Karras et al. 2020, dataset_tool.py).

dataset.json holds {"labels": [["00000/img00000000.png", 3], …]}, or {"labels": null} for pictures without labels. The
folders 00000, 00001, … only keep folders small.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ganserve_training.data.layouts.arrangement import Arrangement
from ganserve_training.data.layouts.tree import Tree
from ganserve_training.data.origin import PassedOver
from ganserve_training.errors import DataError
from ganserve_training.files import reading

_INDEX = "dataset.json"
_NUMBERED = re.compile(r"(?:.*/)?\d{5}/img\d{8}\.\w+")
_IGNORE = "or learn without labels: --data.labels ignore"


def stylegan(tree: Tree, *, use_labels: bool) -> Arrangement | None:
    """Return the pictures of StyleGAN's layout with the labels of dataset.json; None: it is another layout.

    Raises:
        DataError: `use_labels` is set, and dataset.json is damaged, has no label for a picture, or has no classes.
    """
    indices = [file for file in tree.others if file.rpartition("/")[2] == _INDEX]
    index = min(indices, key=lambda file: (file.count("/"), file), default=None)
    labels = None if index is None else _labels(tree, index, use_labels=use_labels)
    if index is None or labels is None:
        if not tree.files or not all(map(_NUMBERED.fullmatch, tree.files)):
            return None
        how = f"no labels, as StyleGAN's numbered folders are none and there is no {_INDEX}"
        return Arrangement(files=tree.files, labels=None, how=how, passed_over=[])
    base = index.removesuffix(_INDEX)
    named = {base + file: label for file, label in labels.items()}
    files = [file for file in tree.files if file.startswith(base)]
    beside = len(tree.files) - len(files)
    passed_over = [PassedOver(beside, f"outside {base.rstrip('/')}, where {_INDEX} is")] if beside else []
    without = [file for file in files if file not in named]
    if named and without and use_labels:
        raise DataError(
            f"{tree.name(index)} has no label for {len(without):,} of {len(files):,} pictures, such as {without[0]}: "
            f"add them, remove the pictures, {_IGNORE}"
        )
    if without:
        how = f"no labels, as {index} has none"
        return Arrangement(files=files, labels=None, how=how, passed_over=passed_over, used=(index,))
    taken = sorted({*files, *named}) if use_labels else files
    found = [named[file] for file in taken]
    how = f"labels from {index}"
    return Arrangement(files=taken, labels=found, how=how, passed_over=passed_over, used=(index,))


def _labels(tree: Tree, index: str, *, use_labels: bool) -> dict[str, str] | None:
    """Return the label of each file, none for data without labels; None: the file is not StyleGAN's."""
    where = tree.name(index)
    try:
        with reading(where, "JSON"):
            content: Any = json.loads(tree.read(index))
        if not isinstance(content, dict) or "labels" not in content:
            return None
        pairs = content["labels"] or []
        if isinstance(pairs, dict):
            pairs = list(pairs.items())
        if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
            raise DataError(f'{where} must hold {{"labels": [[file, label], …]}}: repair it, {_IGNORE}')
        return {file.replace("\\", "/").removeprefix("./"): _label(label, file, where) for file, label in pairs}
    except DataError:
        if use_labels:
            raise
        return {}


def _is_pair(entry: object) -> bool:
    return isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str)


def _label(label: Any, file: str, where: str) -> str:
    if isinstance(label, str) and label:
        return label
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if isinstance(label, list) and label.count(1) == 1 and label.count(0) == len(label) - 1:  # One-hot.
        return str(label.index(1))
    kinds = "a whole number, a name or a one-hot list"
    raise DataError(f"{where}: the label of {file} must be {kinds} (got {label!r}): change it, {_IGNORE}")
