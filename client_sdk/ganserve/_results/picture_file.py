"""Read pictures to score, and fit them to a model: what the page, `ganserve score --fit` and `Client.score` share."""

# N = samples, H = height, W = width, C = channels

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ganserve._results.grid_picture import CHUNK
from ganserve._results.input_source import NeedsFittingError, Source
from ganserve._results.picture_reading import fit_channels, open_picture, read_pixels
from ganserve._results.pictures import MODES, to_pil

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt
    import PIL.Image


@dataclass(frozen=True, slots=True, eq=False)
class PictureFile:
    """A picture: one sample, or the samples of a grid that ganserve wrote."""

    source: Source
    """Its name in errors."""
    pixels: npt.NDArray[np.uint8]
    """uint8 [N, H, W, C]."""
    labels: tuple[str, ...] | None
    """Each sample's label, if the picture is a grid with labels."""
    model: str | None
    """The model that drew the samples, if the picture is a grid."""

    @classmethod
    def read(cls, file: str | os.PathLike[str], argument: str = "picture") -> PictureFile:
        """Read the picture of a file, rotated as its EXIF data says; errors name `argument`."""
        source = Source(argument, file=Path(file).name)
        pixels, grid = read_pixels(without_inks(open_picture(file, source)), source)
        return cls(source, pixels, grid.label_names if grid else None, grid.model if grid else None)

    def samples(self, shape: Sequence[int], *, fit: bool) -> tuple[npt.NDArray[np.uint8], bool]:
        """Return what a model of samples [H, W, C] scores, uint8 [N, H, W, C], and whether it was changed for that.

        Raises:
            NeedsFittingError: Something would be lost, and `fit` does not allow it.
        """
        try:
            return self._as_it_is(shape), False
        except NeedsFittingError:
            if not fit:
                raise
            return resized(self.pixels, shape), True

    def _as_it_is(self, shape: Sequence[int]) -> npt.NDArray[np.uint8]:
        height, width, channels = shape
        given_height, given_width = self.pixels.shape[1:3]
        if (given_height, given_width) != (height, width):
            raise self.source.refuse_form(f"is {given_width}x{given_height} pixels; the model takes {width}x{height}")
        return fit_channels(self.pixels, channels, self.source)


def without_inks(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return a picture in the colours of a screen; JPEGs for printers have others."""
    if CHUNK not in getattr(image, "text", {}) and image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB")
    return image


def resized(pixels: npt.NDArray[np.uint8], shape: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Return the middle of pictures, uint8 [N, H, W, C], resized to samples `shape` and converted to their channels."""
    from PIL import Image, ImageOps  # `ganserve score --help` needs no Pillow.

    height, width, channels = shape
    pictures = [ImageOps.fit(to_pil(sample), (width, height), Image.Resampling.LANCZOS) for sample in pixels]
    if channels in (1, 3):  # transparency becomes white
        pictures = [
            Image.alpha_composite(Image.new("RGBA", each.size, "white"), each.convert("RGBA")) for each in pictures
        ]
    arrays = [np.asarray(each.convert(MODES[channels]), np.uint8) for each in pictures]
    return np.stack([array[..., None] if array.ndim == 2 else array for array in arrays])
