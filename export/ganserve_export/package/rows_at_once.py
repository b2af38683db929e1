"""Bound the memory and time of an export: compute fewer large samples than small ones."""

from collections.abc import Sequence

MOST = 64
_MOST_BYTES = 2**31
_BYTES_PER_VALUE = 400  # networks hold about a hundred float32 values for each value of the sample that they compute
_COMPARED_VALUES = 2**20  # 64 images of 64x64 or 5 of 256x256, which take seconds each; more show nothing new


def rows_at_once(values: int, most: int = MOST) -> int:
    """Return how many samples of so many values fit into memory together: `most`, or fewer if they are large."""
    rows = _MOST_BYTES // (_BYTES_PER_VALUE * max(values, 1))
    return most if rows >= MOST else max(1, rows)


def samples_to_compare(values: int, most: int = MOST, *, least: int = 2) -> int:
    """Return how many samples of so many values to compare or measure: `most`, or fewer if they are large."""
    return max(least, min(most, _COMPARED_VALUES // max(values, 1)))


def batches_to_compare(values: int, usual: Sequence[int]) -> tuple[int, ...]:
    """Return the batch sizes to compare such samples at: the usual ones, or smaller ones, at least 1 and 2."""
    most = samples_to_compare(values, max(usual))
    return tuple(sorted({*(size for size in usual if size <= most), most}))
