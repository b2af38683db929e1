"""Patches of scikit-learn's two bundled photographs: real RGB images that need no download.

N = patches, M = patches read, P = photographs, H, W = photograph, S = side, C = channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import DrawnDataConfig, LabelledImageDataConfig, SplitName, register_source
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.data.samples import Samples, digest_arrays
from ganserve_training.data.storage.stored_images import IN_MEMORY_BYTES
from ganserve_training.errors import DataError
from ganserve_training.options.checks import expect

DEFAULT_SIDE = 32


@register_source
@dataclass(frozen=True, kw_only=True)
class PatchesConfig(LabelledImageDataConfig, DrawnDataConfig):
    """Patches of scikit-learn's two photographs, labelled by photograph."""

    source = "patches"
    default_count = 20_000

    size: int | None = None
    """Width and height of a patch in pixels. None: 32."""
    channels: Literal["auto", "gray", "rgb"] = "auto"
    """Channels that patches are converted to. auto: rgb."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None:
            expect(16 <= self.size <= 128, "data.size", self.size, "from 16 to 128 pixels")

    def load_side(self, split: SplitName, report: ReportBadFiles | None) -> Patches:  # noqa: ARG002
        """Return patches at random places of one part of both photographs, as many of each, labelled by photograph.

        The split is by area, so that training never sees a held-out pixel: a strip of `data.held_out_fraction` of the
        width, left or right by `data.split_seed`, is held out. `data.split_seed` draws the places, too.

        Raises:
            DataError: One part is narrower than a patch.
        """
        pictures, names = _photographs("gray" if self.channels == "gray" else "rgb")
        side = self.size or DEFAULT_SIDE
        width = pictures.shape[2]
        strip = round(width * self.held_out_fraction)
        parts = {"train": width - strip, "held_out": strip}
        for part, pixels in parts.items():
            if pixels < side:
                raise DataError(
                    f"the {part} part of the photographs is {pixels} of their {width} pixels wide, less than a patch "
                    f"of {side}: --data.held-out-fraction must be from {side / width:.3f} to {1 - side / width:.3f}"
                )
        count = self.side_count(split)
        coin = np.random.Philox(key=np.array([self.split_seed, 0], np.uint64)).random_raw() & 1
        # The strip lies left or right; the rest of the width is the other part.
        left = (0 if coin else parts["train"]) if split == "held_out" else (strip if coin else 0)
        stream = 2 if split == "held_out" else 1
        random = np.random.Generator(np.random.Philox(key=np.array([self.split_seed, stream], np.uint64)))
        labels = np.arange(count, dtype=np.int64) % len(pictures)
        tops = random.integers(0, pictures.shape[1] - side, count, endpoint=True)
        lefts = left + random.integers(0, parts[split] - side, count, endpoint=True)
        corners = np.stack([labels, tops, lefts], axis=1)
        return Patches(pictures=pictures, corners=corners, side=side, labels=labels, label_names=names)


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches(Samples):
    """Square patches, cut out of a few pictures when read."""

    rows = "corners"

    pictures: NDArray[np.uint8]
    """uint8 [P, H, W, C]."""
    corners: NDArray[np.int64]
    """int64 [N, 3]: picture, top and left of each patch."""
    side: int
    """S, pixels."""

    @property
    def in_memory(self) -> bool:
        """Return whether all patches together are small enough."""
        return len(self) * int(np.prod(self.info.sample_shape)) <= IN_MEMORY_BYTES

    @property
    def info(self) -> DataInfo:
        """Shape and label names."""
        return DataInfo(sample_shape=(self.side, self.side, self.pictures.shape[3]), label_names=self.label_names)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels at `indices`, int64 [M]: uint8 [M, S, S, C]."""
        pixels = np.empty((len(indices), *self.info.sample_shape), np.uint8)
        for row, (picture, top, left) in enumerate(self.corners[indices].tolist()):
            pixels[row] = self.pictures[picture, top : top + self.side, left : left + self.side]
        return pixels

    def sha256(self) -> str:
        """Return a digest of pictures, corners, labels and names."""
        head = repr((self.pictures.shape, self.side, self.label_names))
        return digest_arrays(head, self.pictures, self.corners, self.labels)


def _photographs(channels: Literal["gray", "rgb"]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return both photographs, uint8 [2, 427, 640, C], and their names."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    bunch = load_sample_images()
    pictures = np.stack(bunch.images)
    if channels == "gray":
        pictures = np.stack([np.asarray(Image.fromarray(item).convert("L"))[..., np.newaxis] for item in pictures])
    return pictures, tuple(name.rsplit("/", 1)[-1].removesuffix(".jpg") for name in bunch.filenames)
