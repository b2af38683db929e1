"""Turn samples into plain rows of numbers, for distances and classifiers.

N = samples, H, W, C = image, D = values of a sample.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.sample_info import DataInfo

_SIDE_PX = 16


def flat_values(samples: NDArray[Any], info: DataInfo) -> NDArray[np.float64]:
    """Return samples, uint8 [N, H, W, C] or float32 [N, D], as rows of float64 [N, D].

    Images get values in [0, 1]; vectors are standardised as networks see them. Images with sides of 32 or more pixels
    are averaged over squares to sides of 16 to 31: more values make distances and support vector machines slow and tell
    little.
    """
    if not info.is_image:
        return np.asarray((samples - np.asarray(info.mean)) / np.asarray(info.std), np.float64)
    count, height, width, channels = samples.shape
    down, right = averaged_px(info)
    cells = samples[:, : height // down * down, : width // right * right]
    if (down, right) != (1, 1):
        cells = cells.reshape(count, height // down, down, width // right, right, channels)
        cells = cells.mean(axis=(2, 4), dtype=np.float64)
    return np.asarray(cells.reshape(count, -1) / 255.0, np.float64)


def averaged_px(info: DataInfo) -> tuple[int, int]:
    """Return how many pixels `flat_values` averages, down and across; (1, 1) for none."""
    return max(1, info.height // _SIDE_PX), max(1, info.width // _SIDE_PX)
