"""The types of arguments: labels, images, encodings and priorities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import PIL.Image

    from ganserve._results.batch import SampleBatch
    from ganserve._results.sample import Sample

Label: TypeAlias = str | int | np.integer[Any]
"""One label: its name, or its index (never a bool)."""

Labels: TypeAlias = Label | Sequence[str] | Sequence[int] | npt.NDArray[np.integer[Any]]
"""One label for all samples, or a sequence of names or indices, one a sample."""

File: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes]
"""A file's path, its bytes, or the file opened for reading bytes."""

ImageLike: TypeAlias = "npt.NDArray[Any] | PIL.Image.Image | File | SampleBatch | Sample"
"""Samples of one source: an array, a PIL image, the path of a picture, of a folder of pictures or of a file of numbers,
an encoded picture as bytes or an open file, or a drawn batch or sample."""

ImagesLike: TypeAlias = "ImageLike | Sequence[ImageLike | float]"
"""Samples to score: see `Client.score`. A sequence of numbers is one vector."""

Encoding: TypeAlias = Literal["raw", "png", "jpeg", "webp", "float32"]
"""The form in which samples travel: see `Client.sample`."""

Noise: TypeAlias = Literal["seeded", "constant", "none"]
"""The noise in each layer of a style-based generator: see `Client.sample`."""

Priority: TypeAlias = Literal["high", "normal", "low"]
"""A request's place in the server's queue: see `Client.sample`."""
