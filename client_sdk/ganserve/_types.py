"""What callers may pass for labels and images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import PIL.Image

    from ganserve._batch import Sample, SampleBatch

Label: TypeAlias = str | int | np.integer[Any]
"""One label: its name, or its index (never a bool)."""

Labels: TypeAlias = Label | Sequence[str] | Sequence[int] | npt.NDArray[np.integer[Any]]
"""One label for all samples, or a sequence of names or indices, one a sample."""

ImageLike: TypeAlias = "npt.NDArray[Any] | PIL.Image.Image | str | os.PathLike[str] | SampleBatch | Sample"
"""Samples of one source: an array, a PIL image, the path of a picture or of a folder of them, or a batch or one sample
that was drawn."""

ImagesLike: TypeAlias = "ImageLike | Sequence[ImageLike]"
"""Samples to score: see `Client.score`."""

Encoding: TypeAlias = Literal["raw", "png", "jpeg", "webp", "float32"]
"""How samples travel: see `Client.sample`."""

Priority: TypeAlias = Literal["high", "normal", "low"]
"""Who goes first while requests wait at a server: somebody waits, as it comes, data made in advance."""
