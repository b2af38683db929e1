"""Convert protobuf's repeated numbers to numpy. N = numbers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# numpy reads them one by one and holds the GIL meanwhile: this many take a few hundred microseconds.
_AT_A_TIME = 2**12


def as_array(values: Sequence[float], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Return repeated numbers as an array [N]; on a thread, others get their turn meanwhile."""
    array = np.empty(len(values), dtype)
    for start in range(0, len(values), _AT_A_TIME):
        array[start : start + _AT_A_TIME] = values[start : start + _AT_A_TIME]
    return array
