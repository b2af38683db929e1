"""Bound the memory of an export: compute fewer large samples together than small ones."""

from collections.abc import Sequence

MOST = 64
_MOST_BYTES = 2**31
_BYTES_PER_VALUE = 400  # networks hold about a hundred float32 values for each value of the sample that they compute


def rows_at_once(values: int, most: int = MOST) -> int:
    """Return how many samples to compute together: `most`, or fewer if they are large."""
    rows = _MOST_BYTES // (_BYTES_PER_VALUE * max(values, 1))
    return most if rows >= MOST else max(1, rows)


def batches_to_compare(values: int, usual: Sequence[int]) -> tuple[int, ...]:
    """Return the batch sizes to compare such samples at: the usual ones, or smaller ones, at least 1 and 2."""
    most = max(2, rows_at_once(values, max(usual)))
    return tuple(sorted({*(size for size in usual if size <= most), min(most, max(usual))}))
