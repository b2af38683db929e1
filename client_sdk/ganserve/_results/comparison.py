"""Compare a picture's samples with the samples that a model drew."""

# N = samples, H = height, W = width, C = channels

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve._results.pictures import MODES, to_pil

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    import PIL.Image

ROUNDING_LEVELS = 2
"""Levels of 255 by which decoders, and devices that draw, may differ."""
_WEBP_QUALITY = 90  # the server's
_CLEARLY_NEARER = 0.5


@dataclass(frozen=True, slots=True)
class Distance:
    """Difference between a picture and the samples that were drawn again."""

    exact: int
    """Samples that are equal, bit for bit."""
    largest: int
    """Largest difference of a value, in levels of 255."""
    mean: float
    """Mean difference of all values, in levels of 255."""

    @classmethod
    def between(cls, given: npt.NDArray[np.uint8], drawn: npt.NDArray[np.uint8]) -> Distance:
        """Compare images, uint8 [N, H, W, C] each."""
        differences = _differences(given, drawn)
        each = differences.reshape(len(given), -1).max(axis=1)
        return cls(int((each == 0).sum()), int(each.max()), float(differences.mean()))


def nearest(given: npt.NDArray[np.uint8], candidates: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """Return the place of the nearest candidate for each image, [N].

    Args:
        given: The images, uint8 [N, H, W, C].
        candidates: One for each image, and again one for each, and so on, uint8 [K * N, H, W, C].
    """
    count = len(given)
    tries = candidates.reshape(-1, *given.shape)
    distances = np.stack([_differences(given, each).reshape(count, -1).mean(axis=1) for each in tries])
    places: npt.NDArray[np.intp] = distances.argmin(axis=0) * count + np.arange(count)
    return places


def is_copy(
    given: npt.NDArray[np.uint8], drawn: npt.NDArray[np.uint8], others: Iterable[npt.NDArray[np.uint8]]
) -> bool:
    """Return whether images are clearly nearer to the samples that they should show than to any others.

    Args:
        given: The images, uint8 [N, H, W, C].
        drawn: What they should show, of the same shape.
        others: Other samples, of the same shape each; without any, nothing is a copy.
    """
    nearest_other = min((_differences(given, other).mean() for other in others), default=0.0)
    return bool(_differences(given, drawn).mean() < _CLEARLY_NEARER * nearest_other)


def explained_by_format(given: npt.NDArray[np.uint8], drawn: npt.NDArray[np.uint8], picture: PIL.Image.Image) -> bool:
    """Return whether a drawn sample, encoded with the settings of a JPEG or WebP picture, looks like that picture.

    Args:
        given: The picture, uint8 [H, W, C].
        drawn: The sample, uint8 [H, W, C].
        picture: The loaded picture. A JPEG has its tables; of a WebP, the server's quality is assumed.
    """
    options = _encoder_options(picture)
    if options is None:
        return False
    file, mode = io.BytesIO(), picture.mode
    try:
        pixels = to_pil(drawn)
        (pixels.convert("RGB") if mode == "RGB" and drawn.shape[-1] == 1 else pixels).save(file, **options)
        with _open(file) as encoded:
            shown = np.asarray(encoded.convert(MODES[drawn.shape[-1]]), np.uint8)
    except (OSError, ValueError):
        return False
    return bool(_differences(given, shown.reshape(drawn.shape)).max() <= ROUNDING_LEVELS)


def _encoder_options(picture: PIL.Image.Image) -> dict[str, Any] | None:
    if picture.format == "WEBP":
        return {"format": "WEBP", "quality": _WEBP_QUALITY}
    if picture.format != "JPEG":
        return None
    from PIL.JpegImagePlugin import get_sampling

    sampling = get_sampling(picture) if picture.mode == "RGB" else 0
    return {
        "format": "JPEG",
        "qtables": picture.quantization,  # type: ignore[attr-defined]  # JPEGs have it
        "subsampling": max(sampling, 0),
    }


def _open(file: io.BytesIO) -> PIL.Image.Image:
    from PIL import Image

    return Image.open(io.BytesIO(file.getvalue()), formats=("JPEG", "WEBP"))


def _differences(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    differences: npt.NDArray[np.int16] = np.abs(a.astype(np.int16) - b)
    return differences
