"""Images in an array, in memory or mapped from a file. N = images, H, W, C = image, S = side."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.config import StoredDataConfig
from ganserve_training.data.image_decoding import ImageForm, PictureFacts, picture_of_array
from ganserve_training.data.origin import Origin
from ganserve_training.data.samples import digest_arrays
from ganserve_training.data.storage.check_images import build_stored_images
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError

_SLICE_BYTES = 2**26


@dataclass(frozen=True, slots=True, eq=False)
class ArrayStore:
    """Images of one shape in an array, uint8 [N, H, W, C]."""

    where: str
    """The array's file, for messages."""
    pixels: NDArray[np.uint8]
    """uint8 [N, H, W, C]."""

    def __len__(self) -> int:
        return len(self.pixels)

    def name(self, index: int) -> str:
        """Return the file and the place in it."""
        return f"{self.where} [{index}]"

    def inspect(self) -> list[PictureFacts | str]:
        """Return the array's shape for each image."""
        _, height, width, channels = self.pixels.shape
        return [PictureFacts(width, height, channels)] * len(self.pixels)

    def read(self, index: int, form: ImageForm) -> NDArray[np.uint8]:
        """Return the image at `index` in a form, uint8 [S, S, C]."""
        pixels: NDArray[np.uint8] = self.pixels[index]
        if pixels.shape == (form.side, form.side, form.channels):
            return pixels
        return form.apply(picture_of_array(pixels))

    def sha256(self) -> str:
        """Return a digest of all pixels and their shape."""
        step = max(1, _SLICE_BYTES // max(1, self.pixels[:1].nbytes))
        slices = (self.pixels[start : start + step] for start in range(0, len(self.pixels), step))
        return digest_arrays(repr(self.pixels.shape), *slices)


def images_of_array(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    label_names: tuple[str, ...],
    config: StoredDataConfig,
    where: str,
    origin: Origin | None = None,
) -> StoredImages:
    """Return images, uint8 [N, H, W] or [N, H, W, C], with labels, int64 [N]; `where` names their file in messages.

    Another form, or an empty array, raises DataError.
    """
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or 0 in pixels.shape:
        raise DataError(
            f"{where} must hold images, uint8 [N, H, W] or [N, H, W, C] (got {pixels.dtype} {list(pixels.shape)})"
        )
    if pixels.shape[-1] > 4:
        raise DataError(f"{where} must have 1 to 4 channels on its last axis (got {list(pixels.shape)})")
    return build_stored_images(ArrayStore(where, pixels), labels, label_names, config, None, origin)
