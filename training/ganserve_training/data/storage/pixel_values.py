"""Bring arrays of pixels into one form, uint8 [N, H, W, C]: other numbers, flat rows, channels first.

N = images, H, W, C = image, D = values of a flat row.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.errors import DataError

_CHANNELS = (1, 2, 3, 4)
_SMALLEST_SIDE = 8
_BRIGHT = 127
"""Largest value from which numbers count as 0 to 255."""
_SLICE = 4096


def as_pixels(values: NDArray[Any], where: str) -> tuple[NDArray[np.uint8], str]:
    """Return images as uint8 [N, H, W] or [N, H, W, C], and in words what was changed; empty: nothing.

    Args:
        values: Numbers, [N, H, W], [N, H, W, C], [N, C, H, W], or [N, D] with square images row by row.
        where: Their file, for messages.

    Raises:
        DataError: The shape is none of these, or the numbers are neither 0 to 255, 0 to 1 nor -1 to 1.
    """
    said: list[str] = []
    if values.ndim == 2:
        side = math.isqrt(values.shape[1])
        if side * side == values.shape[1] and side >= _SMALLEST_SIDE:
            values = values.reshape(len(values), side, side)
            said.append(f"rows of {side * side} values are {side} x {side} pixels")
    if values.ndim == 4 and values.shape[1] in _CHANNELS and values.shape[-1] not in _CHANNELS:
        values = values.transpose(0, 2, 3, 1)
        said.append("channels come first in the file")
    if values.ndim in (3, 4) and values.size and (values.dtype != np.uint8 or _is_binary(values)):
        low, high = values.min(), values.max()
        scale, offset = _scale(values, low, high, where)
        pixels = np.empty(values.shape, np.uint8)
        for start in range(0, len(values), _SLICE):
            part = values[start : start + _SLICE].astype(np.float32)
            pixels[start : start + _SLICE] = np.rint((part + offset) * scale)
        values = pixels
        if (scale, offset) != (1.0, 0.0):
            said.append(f"values from {'-1' if offset else '0'} to 1 became 0 to 255")
    return values, ", ".join(said)


def _is_binary(values: NDArray[np.uint8]) -> bool:
    """Return whether no value is above 1: as pixels from 0 to 255, all images would be black."""
    return bool(values[:_SLICE].max() <= 1 and values.max() <= 1)


def _scale(values: NDArray[Any], low: Any, high: Any, where: str) -> tuple[float, float]:
    """Return the factor, and what to add before, that bring values to 0 to 255."""
    kind = values.dtype.kind
    if kind == "b":
        return 255.0, 0.0
    if kind in "iuf" and np.isfinite(low) and np.isfinite(high):
        if low >= 0 and _BRIGHT <= high <= 255:
            return 1.0, 0.0
        if low >= 0 and high <= 1:
            return 255.0, 0.0
        if low >= -1 and high <= 1:
            return 127.5, 1.0
    found = f"{values.dtype} from {low:g} to {high:g}" if kind in "iuf" else str(values.dtype)
    raise DataError(
        f"{where} must hold pixels from 0 to 255, 0 to 1 or -1 to 1 (got {found}): scale them, and store them as uint8"
    )
