"""Split samples into training and held-out samples. N = samples."""

import numpy as np
from numpy.typing import NDArray

from ganserve_training.errors import DataError


def split_indices(
    count: int, labels: NDArray[np.int64] | None, *, held_out_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the training and of the held-out samples.

    The split is that of `sklearn.model_selection.train_test_split(test_size=held_out_fraction, random_state=split_seed,
    stratify=labels)` for labels, int64 [N]. A label's only sample goes to training.

    Raises:
        DataError: There are too few samples to have each label on both sides.
    """
    if count < 2:
        raise DataError(f"a split needs at least 2 samples, one to train on and one to hold out (got {count})")
    if labels is None:
        return _split(np.arange(count), None, held_out_fraction, seed)
    occurrences = np.bincount(labels)[labels]
    alone, shared = np.flatnonzero(occurrences == 1), np.flatnonzero(occurrences > 1)
    if not len(shared):
        raise DataError(
            f"each of the {len(alone):,} labels has a single sample, and a label needs two, one to train on and one to "
            "hold out: add samples, or learn without labels: --data.labels ignore"
        )
    kinds = len(np.unique(labels[shared]))
    held_out_count = int(np.ceil(held_out_fraction * len(shared)))
    train_count = len(shared) - held_out_count
    if min(held_out_count, train_count) < kinds:
        singles = f", and {len(alone):,} labels have a single sample" if len(alone) else ""
        raise DataError(
            f"{len(shared):,} samples of {kinds:,} labels, split into {train_count:,} and {held_out_count:,}, can't "
            f"have each label on both sides{singles}: change --data.held-out-fraction "
            f"({held_out_fraction}), add samples, or learn without labels: --data.labels ignore"
        )
    train, held_out = _split(shared, labels[shared], held_out_fraction, seed)
    return np.concatenate([train, alone]), held_out


def _split(
    indices: NDArray[np.int64], labels: NDArray[np.int64] | None, held_out_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.model_selection import train_test_split

    held_out = int(np.ceil(held_out_fraction * len(indices)))
    if held_out >= len(indices):
        flag = f"--data.held-out-fraction {held_out_fraction}"
        raise DataError(f"{flag}: leaves none to train on, of {len(indices)} samples. Use less.")
    train, rest = train_test_split(indices, test_size=held_out_fraction, random_state=seed % 2**32, stratify=labels)
    return train, rest
