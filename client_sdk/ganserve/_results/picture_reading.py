"""Read samples from pictures, with Pillow, which only the extra `images` installs."""

# N = samples, H = height, W = width, C = channels

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ganserve._argument_checks import kind_of
from ganserve._errors import ServerError
from ganserve._marks.file_structure import StructureError, essential
from ganserve._marks.files import PNG_KEYWORD
from ganserve._marks.orientation import upright
from ganserve._results.grid_picture import CHUNK, Grid
from ganserve._results.pictures import MODES, import_pillow

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import PIL.Image

    from ganserve._results.input_source import Source
    from ganserve._types import File


FORMATS = ("PNG", "JPEG", "WEBP")
"""Formats to read: Pillow has others, and starts programs for some of them."""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of their files."""
_KEPT_TEXTS = (CHUNK, PNG_KEYWORD)
_MOST_FILE_BYTES = 2**28
_MOST_PIXELS = 2**26  # up to 256 MiB with four channels


def open_picture(file: File, source: Source) -> PIL.Image.Image:
    """Load the Pillow image of a file; errors name `source`."""
    pillow = import_pillow(f"reading {source.file or source.argument!r}")
    try:
        content = essential(file_content(file, source), _KEPT_TEXTS)
        with pillow.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:  # before decoding: a small file may hold a large picture
                raise source.refuse(f"is {width}x{height} pixels; expected at most {_MOST_PIXELS >> 20} million")
            image.load()
            loaded: PIL.Image.Image = image
            return loaded
    except pillow.UnidentifiedImageError as error:
        raise source.refuse(f"cannot be read as a picture; expected {', '.join(FORMATS)}") from error
    except StructureError as error:
        raise source.refuse(str(error)) from error
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise source.refuse(f"cannot be read as a picture ({error})") from error


def file_content(file: File, source: Source, most_bytes: int = _MOST_FILE_BYTES) -> bytes:
    """Return the bytes of a path, of a file opened for reading bytes, or given as they are; errors name `source`."""
    if isinstance(file, bytes | bytearray | memoryview):
        content = bytes(file)
    elif isinstance(file, str | os.PathLike):
        try:
            with Path(file).open("rb") as stream:
                content = stream.read(most_bytes + 1)
        except FileNotFoundError as error:
            raise source.refuse("does not exist") from error
        except OSError as error:
            raise source.refuse(f"cannot be read ({error.strerror})") from error
    elif hasattr(file, "read"):
        content = file.read(most_bytes + 1)
        if not isinstance(content, bytes):
            raise source.refuse('is a file that gives text; expected one that is open for reading bytes ("rb")')
    else:
        raise source.refuse(f"is {kind_of(file)}; expected a path, the bytes of a picture or a file of bytes")
    if len(content) > most_bytes:
        raise source.refuse(f"has more than {most_bytes >> 20} MiB; expected a picture")
    return content


def decode_images(files: Sequence[bytes], channels: int | None) -> npt.NDArray[np.uint8]:
    """Return the images, uint8 [N, H, W, C], of PNG, JPEG or WebP files of one size that a server sent.

    `channels` is C where the format does not show it (WebP has no gray); None: as in the files.
    """
    pillow = import_pillow("reading pictures")
    images: list[npt.NDArray[np.uint8]] = []
    for file in files:
        try:
            with pillow.open(io.BytesIO(file), formats=FORMATS) as image:
                pixels = np.asarray(image if channels is None else image.convert(MODES[channels]), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise ServerError(f"the answer's sample {len(images)} is not a picture ({error})") from error
        images.append(pixels[..., None] if pixels.ndim == 2 else pixels)
    return np.stack(images)


def read_pixels(image: PIL.Image.Image, source: Source) -> tuple[npt.NDArray[np.uint8], Grid | None]:
    """Return the images of a picture, uint8 [N, H, W, C], and its grid if it is a PNG that ganserve wrote.

    Other pictures are turned as their EXIF orientation says, as in training.
    """
    text = getattr(image, "text", {}).get(CHUNK)
    if text is None:
        return eight_bit(upright(image), source)[None], None
    pixels = eight_bit(image, source)
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
            raise source.refuse_form("has colours, and the model takes gray: convert it first")
        gray_or_rgb = gray_or_rgb[..., :1]
    elif channels in (3, 4) and gray_or_rgb.shape[-1] == 1:
        gray_or_rgb = gray_or_rgb.repeat(3, axis=-1)
    if channels in (1, 3):
        if alpha is not None and (alpha != 255).any():
            raise source.refuse_form("is transparent in places, and the model takes no alpha: flatten it first")
        return gray_or_rgb
    if alpha is None:
        alpha = np.full((*pixels.shape[:-1], 1), 255, np.uint8)
    return np.concatenate([gray_or_rgb, alpha], axis=-1)


def eight_bit(image: PIL.Image.Image, source: Source) -> npt.NDArray[np.uint8]:
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
