"""Decode pictures and bring them into one form. S = side, C = channels."""

from __future__ import annotations

import functools
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganserve._marks.orientation import upright

if TYPE_CHECKING:
    from PIL import Image

CHANNEL_NAMES = {1: "gray", 2: "gray-alpha", 3: "rgb", 4: "rgba"}
"""Names of channel counts, as `data.channels` has them."""
CHANNEL_COUNTS = {name: count for count, name in CHANNEL_NAMES.items()}
"""Channel counts by name."""

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""Pillow's names; PPM stands for Netpbm's PPM, PGM and PBM."""
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
"""Endings of picture files, in lower case."""


class UnreadableError(Exception):
    """A picture can't be decoded; the message says why."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Size and channels of a picture as it is stored."""

    width: int
    """Width in pixels, the right way up."""
    height: int
    """Height in pixels, the right way up."""
    channels: int
    """1 gray, 2 gray + alpha, 3 RGB, 4 RGBA."""


@dataclass(frozen=True, slots=True)
class ImageForm:
    """Size and channels that every picture of a set gets."""

    side: int
    """S, width and height in pixels."""
    channels: int
    """C: 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA."""

    def apply(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Return the middle square of a picture, resized with Lanczos' filter, antialiased: uint8 [S, S, C].

        If the form has no alpha, the picture is laid over white; if only the form has alpha, the picture is opaque.
        """
        from PIL import Image

        picture = _convert(picture, self.channels)
        width, height = picture.size
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        if width != height:  # Crop before resizing, so that pixels outside the square have no effect.
            picture = picture.crop((left, top, left + short, top + short))
        if short != self.side:
            picture = picture.resize((self.side, self.side), Image.Resampling.LANCZOS)
        return np.asarray(picture, np.uint8).reshape(self.side, self.side, self.channels)


def decode_picture(data: bytes) -> Image.Image:
    """Return the picture in an encoded file of these formats, the right way up, with 8 bits a channel.

    Its mode is L, LA, RGB or RGBA; of several frames or pages, only the first is read.

    Raises:
        UnreadableError: It can't be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise UnreadableError("it is empty")
    try:
        _accept_large_pictures()
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            picture.load()
            return _to_eight_bits(upright(picture))
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("it is not a PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF or Netpbm image") from None
    except Exception as error:  # Pillow raises many types for damaged files.
        raise UnreadableError(str(error) or type(error).__name__) from error


@functools.cache
def _accept_large_pictures() -> None:
    """Silence Pillow's warning about pictures of 89 million pixels and more; it refuses twice as many."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def picture_facts(picture: Image.Image) -> PictureFacts:
    """Return the size and channels of a picture that `decode_picture` or `picture_of_array` returned."""
    return PictureFacts(picture.width, picture.height, len(picture.getbands()))


def picture_of_array(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return pixels, uint8 [H, W, C], as a picture."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """Convert any of Pillow's modes to L, LA, RGB or RGBA."""
    from PIL import Image

    if picture.mode in _SIXTEEN_BIT:  # Pillow's own conversion clips at 255.
        values = np.asarray(picture).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise UnreadableError(f"it has 32 bits a pixel (mode {picture.mode}): save it with 8")
    alpha = picture.has_transparency_data
    if picture.mode in ("1", "L", "LA", "La"):
        return picture.convert("LA" if alpha else "L")
    return picture.convert("RGBA" if alpha else "RGB")


def _convert(picture: Image.Image, channels: int) -> Image.Image:
    from PIL import Image

    mode = _MODES[channels]
    if picture.mode == mode:
        return picture
    if "A" in picture.mode and "A" not in mode:
        picture = picture.convert("RGBA")
        white: Any = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert(mode)
