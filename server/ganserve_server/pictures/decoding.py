"""Decode the PNG, JPEG and WebP files of a request to the images that a model's critic takes.

A file may differ from the model's form where the picture stays the same: gray in place of equal colours, a palette, a
fully opaque or a missing alpha channel, an EXIF orientation. A gray model accepts colours that differ by one level,
because lossy formats round them. All other files are refused. The size is checked before the pixels are decoded, so
that a small file cannot fill the memory.

N = samples, H, W, C = image.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ganserve._marks.file_structure import StructureError, essential
from ganserve._marks.orientation import upright
from ganserve.v1 import tensor_pb2
from ganserve_server.error_text import and_others
from ganserve_server.errors import invalid_field
from ganserve_server.pictures.formats import FORMATS
from ganserve_server.pictures.threads import PictureThreads

_GRAY_WITHIN = 1  # levels that the colours of a gray pixel may differ by
_OPAQUE = 255
_CHANNEL_NAMES = {1: "gray", 2: "gray with alpha", 3: "RGB", 4: "RGBA"}
_MOST_SHOWN = 100
_WEBP_HEADER_BYTES = 30


class _RefusedError(Exception):
    """A file does not fit the model; the message says why."""


async def decoded_images(
    threads: PictureThreads,
    files: Sequence[bytes],
    encoding: tensor_pb2.Encoding.ValueType,
    shape: tuple[int, ...],
    field: str,
) -> NDArray[np.uint8]:
    """Decode files in parallel, off the event loop, to uint8 [N, H, W, C] with the model's `shape` [H, W, C].

    A file that is damaged, or does not fit the model, raises InvalidRequestError, which names `field`.
    """
    images, reasons = await decoded_each(threads, files, [encoding] * len(files), shape)
    wrong = [row for row, reason in enumerate(reasons) if reason]
    if wrong:
        raise invalid_field(field, f"file {wrong[0]}{and_others(len(wrong), 'wrong')} {reasons[wrong[0]]}")
    return images


async def decoded_each(
    threads: PictureThreads,
    files: Sequence[bytes],
    encodings: Sequence[tensor_pb2.Encoding.ValueType],
    shape: tuple[int, ...],
) -> tuple[NDArray[np.uint8], list[str]]:
    """Decode files as `decoded_images` does, each by its encoding; return the problem of each, too, "" for none."""
    images = np.empty((len(files), *shape), np.uint8)

    def decode(rows: slice) -> list[str]:
        """Decode the images of these rows and return the problem of each."""
        reasons = []
        for row in range(rows.start, rows.stop):
            try:
                images[row] = _decode(files[row], encodings[row], shape)
            except _RefusedError as error:
                reasons.append(str(error))
            else:
                reasons.append("")
        return reasons

    return images, await threads.map(decode, len(files), images[:1].nbytes)


def _decode(file: bytes, encoding: tensor_pb2.Encoding.ValueType, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    height, width, channels = shape
    name = FORMATS[encoding].name
    try:
        file = essential(file)
        # Pillow allocates a WebP's canvas when it opens the file; for other formats it has its own limit.
        size = _header_size(file, encoding)
        if size is not None and set(size) != {width, height}:  # EXIF may swap them
            raise _wrong_size(size, width, height)
        with Image.open(io.BytesIO(file), formats=(name,)) as image:
            if set(image.size) != {width, height}:
                raise _wrong_size(image.size, width, height)
            if encoding != tensor_pb2.ENCODING_JPEG and getattr(image, "is_animated", False):
                raise _RefusedError("is an animation; expected one picture a file")
            if image.mode.startswith(("I", "F")) or (name == "PNG" and file[24] > 8):
                raise _RefusedError("has more than 8 bits a channel; save it with 8")
            image.load()
            turned = upright(image)
            if turned.size != (width, height):
                raise _wrong_size(turned.size, width, height)
            pixels = _eight_bits(turned)
    except _RefusedError:
        raise
    except StructureError as error:
        raise _RefusedError(str(error)) from None
    except UnidentifiedImageError:
        raise _RefusedError(f"is not a {name} file ({len(file)} bytes), as samples.images.encoding says") from None
    except Exception as error:  # Pillow raises many types for damaged or hostile bytes
        reason = str(error)[:_MOST_SHOWN] or type(error).__name__
        raise _RefusedError(f"cannot be decoded as {name}: {reason}") from error
    return _with_channels(pixels, channels)


def _wrong_size(found: tuple[int, int], width: int, height: int) -> _RefusedError:
    found_width, found_height = found
    expected = f"{width} x {height} (width x height)"
    return _RefusedError(f"is {found_width} x {found_height} pixels; expected {expected}: resize it before you send it")


def _header_size(file: bytes, encoding: tensor_pb2.Encoding.ValueType) -> tuple[int, int] | None:
    """Return width and height from the first chunk of a PNG or WebP (RFC 9649); None for other files."""
    if encoding == tensor_pb2.ENCODING_PNG and file[12:16] == b"IHDR":
        return int.from_bytes(file[16:20], "big"), int.from_bytes(file[20:24], "big")
    if encoding == tensor_pb2.ENCODING_WEBP:
        kind = file[12:16]
        if len(file) < _WEBP_HEADER_BYTES or file[:4] != b"RIFF" or file[8:12] != b"WEBP":
            raise UnidentifiedImageError
        if kind == b"VP8X":
            return 1 + int.from_bytes(file[24:27], "little"), 1 + int.from_bytes(file[27:30], "little")
        if kind == b"VP8L":
            bits = int.from_bytes(file[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        if kind == b"VP8 ":
            return int.from_bytes(file[26:28], "little") & 0x3FFF, int.from_bytes(file[28:30], "little") & 0x3FFF
        raise UnidentifiedImageError
    return None


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels, uint8 [H, W, C] with 1 to 4 channels."""
    alpha = image.has_transparency_data
    if image.mode in {"1", "L", "LA"}:
        mode = "LA" if alpha else "L"
    elif image.mode in {"P", "PA", "RGB", "RGBA"}:
        mode = "RGBA" if alpha else "RGB"
    else:
        raise _RefusedError(f"has the colours {image.mode}; expected gray or RGB, with alpha or without: convert it")
    pixels = np.asarray(image if image.mode == mode else image.convert(mode), np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Convert pixels [H, W, C] to the model's number of channels if the picture stays the same."""
    found = pixels.shape[-1]
    if found == channels:
        return pixels
    expected = f"the model's images are {_CHANNEL_NAMES[channels]}"
    colours, alpha = (pixels[..., :-1], pixels[..., -1:]) if found in {2, 4} else (pixels, None)
    if channels in {1, 3} and alpha is not None and alpha.min() < _OPAQUE:
        raise _RefusedError(f"has transparent pixels, {expected}: lay it over a background before you send it")
    if channels in {1, 2} and colours.shape[-1] == 3:
        spread = colours.max(axis=-1).astype(np.int16) - colours.min(axis=-1)
        if spread.max() > _GRAY_WITHIN:
            raise _RefusedError(f"has colours, {expected}: convert it to gray before you send it")
        colours = colours[..., 1:2]
    elif channels in {3, 4} and colours.shape[-1] == 1:
        colours = np.repeat(colours, 3, axis=-1)
    if channels in {1, 3}:
        return colours
    if alpha is None:
        alpha = np.full((*pixels.shape[:2], 1), _OPAQUE, np.uint8)
    return np.concatenate([colours, alpha], axis=-1)
