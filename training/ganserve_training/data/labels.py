"""Read labels and turn them into indices and names. N = samples."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.config import existing
from ganserve_training.data.idx_file import read_idx
from ganserve_training.data.origin import PassedOver
from ganserve_training.errors import DataError
from ganserve_training.files import reading

_NAMED = 5


def index_labels(values: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the indices of labels, int64 [N], and their sorted names: by number if all are integers, else by text."""
    names = tuple(sorted(set(values), key=_order_of(values)))
    place = {name: index for index, name in enumerate(names)}
    return np.array([place[value] for value in values], np.int64), names


def index_label_array(
    values: NDArray[Any], where: str, names: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return an array of labels, [N], as indices, int64 [N], and their names.

    Args:
        values: Integers, also stored as floats, true and false, or text, [N], in a column [N, 1], or one-hot [N, K].
        where: Their file, for messages.
        names: Names of the integers 0, 1, …; None: the integers that occur are the names.

    Raises:
        DataError: They are neither integers nor text, or an integer has no name.
    """
    values = _one_each(values)
    if values.ndim != 1:
        raise DataError(f"{where} must hold one label a sample, [N] (got {list(values.shape)})")
    if values.dtype.kind in "US" and names is None:
        with reading(where, "labels in UTF-8"):
            texts = [_text(value) for value in values.tolist()]
        return index_labels(texts)
    if values.dtype.kind == "b" and names is None:
        return index_labels([str(value) for value in values.tolist()])
    values = _whole(values, where)
    if values.dtype.kind not in "iu":
        expected = "integers" if names is not None else "integers or text"
        raise DataError(f"{where} must hold labels that are {expected} (got {values.dtype})")
    if names is None:
        distinct, indices = np.unique(values, return_inverse=True)
        return indices.astype(np.int64).reshape(-1), tuple(map(str, distinct.tolist()))
    if len(set(names)) != len(names):
        raise DataError(f"{where} has the same name for two labels: {', '.join(names)}")
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) < len(names):
        raise DataError(f"{where} must hold labels from 0 to {len(names) - 1} (got {values.min()} to {values.max()})")
    return values.astype(np.int64), tuple(names)


def read_unless_ignored(
    read: Callable[[], tuple[NDArray[np.int64] | None, tuple[str, ...]]], *, ignored: bool
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Return labels as `read` returns them, [N]; where they are ignored, none if they can't be used.

    Labels that can be used also count where they are ignored: the split is stratified by them.
    """
    try:
        return read()
    except DataError:
        if not ignored:
            raise
        return None, ()


def used_labels(
    labels: NDArray[np.int64] | None, names: tuple[str, ...]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], list[PassedOver]]:
    """Return labels, int64 [N], and their names without the names that no sample has, and what was left out."""
    if labels is None:
        return None, names, []
    used, indices = np.unique(labels, return_inverse=True)
    unused = [name for index, name in enumerate(names) if index not in set(used.tolist())]
    if not unused:
        return labels, names, []
    told = f"declared label{'' if len(unused) == 1 else 's'} without samples ({', '.join(unused[:_NAMED])}"
    told += ", …)" if len(unused) > _NAMED else ")"
    kept = tuple(names[index] for index in used.tolist())
    return indices.astype(np.int64).reshape(-1), kept, [PassedOver(len(unused), told)]


def expect_label_count(labels: NDArray[Any], samples: int, where: str, samples_where: str) -> None:
    """Raise a DataError unless there are as many labels as samples."""
    if len(labels) != samples:
        raise DataError(f"{where} has {len(labels):,} labels, but {samples_where} has {samples:,} samples")


def printable(name: str) -> str:
    """Return a label as it can be printed: line breaks, terminal escapes and what is not UTF-8 are escaped."""
    return name if name.isprintable() else repr(name)


def expect_utf8(names: Sequence[str]) -> None:
    """Refuse names that no model package can hold, before training."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"the label {name!r} is not UTF-8, and a model needs names that are: rename its folder, or learn "
                "without labels: --data.labels ignore"
            ) from None


def _one_each(values: NDArray[Any]) -> NDArray[Any]:
    """Return labels in a column, [N, 1], or one-hot, [N, K], as [N]; other values as they are."""
    if values.ndim != 2 or not values.size:
        return values
    if values.shape[1] == 1:
        return values[:, 0]
    is_one_hot = values.dtype.kind in "biuf" and np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()
    return values.argmax(axis=1) if is_one_hot else values


def _whole(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Return floats that are all whole numbers as integers, as pandas writes them, and other values as they are."""
    if values.dtype.kind not in "fO":
        return values
    missing = sum(value is None or value != value for value in values.tolist())  # NaN is not itself
    if missing:
        raise DataError(f"{where} must have a label for each sample ({missing:,} of {len(values):,} have none)")
    if values.dtype.kind == "O":
        return values
    with np.errstate(invalid="ignore"):  # Infinity, and values beyond int64, differ from what they become.
        whole = values.astype(np.int64)
    return whole if np.array_equal(whole, values) else values


def _order_of(values: Sequence[str]) -> Any:
    try:
        for value in values:
            int(value)
    except ValueError:
        return str
    return lambda name: (int(name), name)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def read_labels(path: Path) -> NDArray[Any]:
    """Return labels, [N], from a .npy file (integers or text) or an IDX file (bytes).

    Raises:
        DataError: There is no such file, or it holds something else.
    """
    path = existing(path.expanduser(), kind="file", option="data.labels_path")
    if path.suffix.lower() == ".csv":
        raise DataError(
            f"--data.labels-path {path}: must be a .npy or an IDX file. A CSV file is for --data.source folder."
        )
    if path.suffix.lower() != ".npy":
        return read_idx(path, dimensions=(1,))
    with reading(path, "a .npy file of integers or text"):
        labels = np.load(path, allow_pickle=False)
    if not isinstance(labels, np.ndarray):
        raise DataError(f"{path} is a .npz archive that is called .npy: save its labels alone, with numpy.save")
    return labels
