"""Read samples from pictures, with Pillow, which only the extra `images` installs."""

# N = samples, H = height, W = width, C = channels

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING

import numpy as np

from ganserve._errors import ServerError
from ganserve._results.grid_picture import CHUNK, Grid
from ganserve._results.pictures import MODES, import_pillow

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt
    import PIL.Image

    from ganserve._results.input_source import Source


def open_picture(file: str | os.PathLike[str] | IO[bytes], source: Source) -> PIL.Image.Image:
    """Load the Pillow image of a file; errors name `source`."""
    pillow = import_pillow(f"reading {source.file or source.argument!r}")
    try:
        with pillow.open(file) as image:
            image.load()
            loaded: PIL.Image.Image = image
            return loaded
    except FileNotFoundError as error:
        raise source.refuse("does not exist") from error
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise source.refuse(f"cannot be read as a picture ({error})") from error


def decode_images(files: Sequence[bytes], channels: int | None) -> npt.NDArray[np.uint8]:
    """Return the images, uint8 [N, H, W, C], of PNG, JPEG or WebP files of one size that a server sent.

    `channels` is C where the format does not tell it (WebP has no gray); None: as in the files.
    """
    pillow = import_pillow("reading pictures")
    images: list[npt.NDArray[np.uint8]] = []
    for file in files:
        try:
            with pillow.open(io.BytesIO(file)) as image:
                pixels = np.asarray(image if channels is None else image.convert(MODES[channels]), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise ServerError(f"the answer's sample {len(images)} is not a picture ({error})") from error
        images.append(pixels[..., None] if pixels.ndim == 2 else pixels)
    return np.stack(images)


def read_pixels(image: PIL.Image.Image, source: Source) -> tuple[npt.NDArray[np.uint8], Grid | None]:
    """Return the images of a picture, uint8 [N, H, W, C], and its grid if it is a PNG that ganserve wrote."""
    text = getattr(image, "text", {}).get(CHUNK)
    pixels = _eight_bit(image, source)
    if text is None:
        return pixels[None], None
    grid = Grid.from_json(str(text), source)
    return grid.cut(fit_channels(pixels, grid.channels, source), source), grid


def fit_channels(pixels: npt.NDArray[np.uint8], channels: int, source: Source) -> npt.NDArray[np.uint8]:
    """Return the pixels [..., C] with another number of channels; raise InvalidRequest if something would be lost.

    Gray becomes RGB. RGB becomes gray if its three channels are equal. Alpha is dropped if it is opaque, and added
    opaque.
    """
    given = pixels.shape[-1]
    if given == channels:
        return pixels
    gray_or_rgb = pixels[..., : 1 if given <= 2 else 3]
    alpha = pixels[..., -1:] if given in (2, 4) else None
    if channels in (1, 2) and gray_or_rgb.shape[-1] == 3:
        if (gray_or_rgb != gray_or_rgb[..., :1]).any():
            raise source.refuse("has colours, and the model takes gray: convert it first")
        gray_or_rgb = gray_or_rgb[..., :1]
    elif channels in (3, 4) and gray_or_rgb.shape[-1] == 1:
        gray_or_rgb = gray_or_rgb.repeat(3, axis=-1)
    if channels in (1, 3):
        if alpha is not None and (alpha != 255).any():
            raise source.refuse("is transparent in places, and the model takes no alpha: flatten it first")
        return gray_or_rgb
    if alpha is None:
        alpha = np.full((*pixels.shape[:-1], 1), 255, np.uint8)
    return np.concatenate([gray_or_rgb, alpha], axis=-1)


def _eight_bit(image: PIL.Image.Image, source: Source) -> npt.NDArray[np.uint8]:
    mode = image.mode
    if mode == "1":
        image = image.convert("L")
    elif mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif mode in ("L", "RGB") and image.has_transparency_data:
        image = image.convert(f"{mode}A")
    elif mode not in MODES.values():
        raise source.refuse(f"has the mode {mode}, not 8-bit gray or RGB: convert it first")
    pixels: npt.NDArray[np.uint8] = np.asarray(image, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels
