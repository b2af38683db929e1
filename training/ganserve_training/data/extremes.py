"""Measure how much of pictures is exactly black or white."""

import numpy as np

from ganserve_training.data.samples import Samples

_MOST = 256


def extreme_share(samples: Samples) -> float:
    """Return the share of the values of images, uint8 [N, H, W, C], that are 0 or 255; 0 for vectors.

    It reads at most 256 samples, evenly over all of them.
    """
    if not samples.info.is_image:
        return 0.0
    values = samples.read(np.linspace(0, len(samples) - 1, min(len(samples), _MOST), dtype=np.int64))
    return float(np.mean((values == 0) | (values == 255)))
