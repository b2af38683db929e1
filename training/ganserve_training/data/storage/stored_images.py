"""Images that stay on disk and are decoded when read. N = images, M = images read, S = side, C = channels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.image_decoding import ImageForm, PictureFacts, UnreadableError
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.data.samples import Samples, digest_arrays
from ganserve_training.data.samples_in_memory import Images
from ganserve_training.errors import DataError

IN_MEMORY_BYTES = 512 * 2**20
"""Sets up to this size, as decoded bytes, are read into memory once."""
_SLICE = 1024


class PictureStore(Protocol):
    """Stored pictures, good and bad; threads may read it at the same time, and it can be pickled."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the name of the picture at `index` for messages."""

    def inspect(self) -> Sequence[PictureFacts | str]:
        """Decode each picture; return its facts, or why it can't be read."""

    def read(self, index: int, form: ImageForm) -> NDArray[np.uint8]:
        """Return the picture at `index` in a form, uint8 [S, S, C], or raise UnreadableError."""

    def sha256(self) -> str:
        """Return a digest of all pictures and their names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredImages(Samples):
    """Images that are decoded when read."""

    rows = "indices"

    store: PictureStore
    """The store with the images."""
    indices: NDArray[np.int64]
    """int64 [N], places of these images in the store."""
    form: ImageForm
    """Size and channels that each image gets."""

    @property
    def in_memory(self) -> bool:
        """Return false: each read decodes."""
        return False

    @property
    def info(self) -> DataInfo:
        """Shape and label names."""
        side = self.form.side
        return DataInfo(sample_shape=(side, side, self.form.channels), label_names=self.label_names)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels at `indices`, int64 [M]: uint8 [M, S, S, C], or raise DataError if one is gone."""
        pixels = np.empty((len(indices), *self.info.sample_shape), np.uint8)
        places = self.indices[indices]
        for row in np.argsort(places, kind="stable"):  # Read neighbours in a file together.
            place = int(places[row])
            try:
                pixels[row] = self.store.read(place, self.form)
            except UnreadableError as error:
                raise DataError(
                    f"{self.store.name(place)} can't be read any more: {error}. It could when training started: "
                    "restore it, then go on from the newest checkpoint"
                ) from error
        return pixels

    def sha256(self) -> str:
        """Return a digest of the stored bytes, `indices`, form, labels and names; it decodes nothing."""
        return digest_arrays(
            repr((self.store.sha256(), self.form, self.label_names, len(self.indices))), self.indices, self.labels
        )

    def loaded_if_small(self) -> Images | StoredImages:
        """Return the images in memory if they take at most `IN_MEMORY_BYTES`, else unchanged."""
        if len(self) * int(np.prod(self.info.sample_shape)) > IN_MEMORY_BYTES:
            return self
        slices = [np.arange(start, min(start + _SLICE, len(self))) for start in range(0, len(self), _SLICE)]
        with open_pool() as pool:
            pixels = np.concatenate(list(pool.map(self.read, slices)))
        return Images(pixels=pixels, labels=self.labels, label_names=self.label_names, origin=self.origin)


def open_pool() -> ThreadPoolExecutor:
    """Return threads for decoding; Pillow releases Python's lock while it decodes."""
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="ganserve-decode")
