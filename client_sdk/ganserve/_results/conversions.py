"""Convert samples: to images for every encoding, and to PyTorch's layout."""

# N = samples, H = height, W = width, C = channels, D = values of a vector

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve._errors import MissingExtra, UnsupportedByModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import torch


def to_torch(array: npt.NDArray[Any], axes: int) -> torch.Tensor:
    try:
        module: Any = import_module("torch")  # by name: the SDK must work without it
    except ModuleNotFoundError as error:
        raise MissingExtra.of("training", "PyTorch", "to_torch()") from error
    layout = np.moveaxis(array, -1, axes - 3) if array.ndim == axes else array
    tensor: torch.Tensor = module.from_numpy(np.array(layout, order="C"))
    return tensor


def as_images(array: npt.NDArray[Any], axes: int, model: str) -> npt.NDArray[np.uint8]:
    """Return the images, uint8 [..., H, W, C] with `axes` axes, of a model's samples; see `SampleBatch.images`."""
    if array.ndim == axes and array.dtype == np.float32:  # value / 255
        return np.rint(array * np.float32(255)).astype(np.uint8)
    if array.ndim != axes or array.dtype != np.uint8:
        kind = kind_of_samples(array.dtype, array.shape[axes - 3 :])
        raise UnsupportedByModel(f"model {model!r} makes {kind}, not images: use samples (batch) or array (sample)")
    return array


def kind_of_samples(dtype: np.dtype[Any], shape: Sequence[int]) -> str:
    return f"{dtype} {list(shape)}"
