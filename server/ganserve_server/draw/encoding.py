"""How samples travel: raw, as float32, or as PNG, JPEG or WebP files.

N = samples, H, W, C = image.
"""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ganserve.v1 import tensor_pb2
from ganserve_server.requests.validation import enum_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganserve_server.models.package import ModelInfo
    from ganserve_server.queue.picture_threads import Workers
    from ganserve_server.requests.validation import Findings

_RAW = (tensor_pb2.ENCODING_UNSPECIFIED, tensor_pb2.ENCODING_RAW)
FILE_OVERHEAD_BYTES = 6  # tag and length of one file in a message


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FileFormat:
    """A format of image files."""

    name: str
    """Pillow's name of it."""
    largest_side_px: int
    has_alpha: bool
    options: dict[str, Any]
    """For Pillow: fixed, so that a sample is the same file every time."""


FORMATS: dict[tensor_pb2.Encoding.ValueType, FileFormat] = {
    tensor_pb2.ENCODING_PNG: FileFormat(name="PNG", largest_side_px=2**31 - 1, has_alpha=True, options={}),
    # Whole colours (4:4:4): many generators make images so small that half of them would show.
    tensor_pb2.ENCODING_JPEG: FileFormat(
        name="JPEG", largest_side_px=65_500, has_alpha=False, options={"quality": 95, "subsampling": 0}
    ),
    tensor_pb2.ENCODING_WEBP: FileFormat(name="WEBP", largest_side_px=16_383, has_alpha=True, options={"quality": 90}),
}


def is_image(info: ModelInfo) -> bool:
    """Tells whether a model's samples are images, uint8 [H, W, C], rather than vectors, float32 [D]."""
    return len(info.sample_shape) == 3


def check_encoding(
    info: ModelInfo, encoding: tensor_pb2.Encoding.ValueType, findings: Findings
) -> tensor_pb2.Encoding.ValueType:
    """Check the encoding that a request asks for, and returns it; raw if it asks for none or a wrong one."""
    if encoding in _RAW:
        return tensor_pb2.ENCODING_RAW
    name = enum_name(tensor_pb2.Encoding, encoding)
    if encoding not in tensor_pb2.Encoding.values():
        findings.invalid("encoding", f"is {name}; expected a value of ganserve.v1.Encoding, such as ENCODING_RAW")
    elif encoding not in FORMATS:
        return encoding
    elif obstacle := _obstacle(info, FORMATS[encoding], name):
        findings.precondition(f"model {info.name!r} makes {obstacle}")
    else:
        return encoding
    return tensor_pb2.ENCODING_RAW


def _obstacle(info: ModelInfo, form: FileFormat, name: str) -> str:
    """Says why a model's samples cannot become files of a format; empty if they can."""
    if not is_image(info):
        return f"vectors, {name} is for images: ask for ENCODING_RAW or ENCODING_FLOAT32"
    height, width, channels = info.sample_shape
    if channels in {2, 4} and not form.has_alpha:
        return (
            f"images with an alpha channel ({channels} channels), which {name} cannot hold: ask for ENCODING_PNG or "
            "ENCODING_WEBP"
        )
    if max(height, width) > form.largest_side_px:
        most = form.largest_side_px
        return f"images of {width} x {height} pixels, {name} holds at most {most} a side: ask for ENCODING_PNG"
    return ""


def most_bytes(info: ModelInfo, encoding: tensor_pb2.Encoding.ValueType) -> int:
    """Return the most bytes that one sample takes in a message with an encoding that suits it."""
    if encoding == tensor_pb2.ENCODING_FLOAT32:
        return info.sample_bytes * (4 if is_image(info) else 1)
    if encoding not in FORMATS:
        return info.sample_bytes
    height, width, channels = info.sample_shape
    if encoding == tensor_pb2.ENCODING_PNG:
        # A byte a row for its filter; deflate gives up at most an eighth (its quickest level; others far less) on what
        # does not compress; 12 bytes around each 64 KiB; signature, header, the last chunk and the first block's.
        raw = height * (1 + width * channels)
        return raw + raw // 8 + 12 * (raw // 2**16) + 1024 + FILE_OVERHEAD_BYTES
    # JPEG: a code of 16 bits, 11 more of the coefficient, and a stuffed byte for each of theirs that is all ones: less
    # than 5 bytes a value, of whole blocks; its tables take 650. WebP codes less, and half of the colours' values.
    padded = (height + 15) // 16 * 16 * ((width + 15) // 16 * 16)
    return 5 * padded * channels + 1024 + FILE_OVERHEAD_BYTES


async def encoded_files(
    workers: Workers, samples: list[NDArray[np.generic]], encoding: tensor_pb2.Encoding.ValueType
) -> list[bytes]:
    """Encode images, off the event loop and in parallel.

    Args:
        workers: The threads.
        samples: Parts uint8 [n, H, W, C].
        encoding: PNG, JPEG or WebP, as the images allow.

    Returns:
        One file an image, in their order.
    """
    form = FORMATS[encoding]
    images = [image for part in samples for image in part]

    def encode(rows: slice) -> list[bytes]:
        return [_encode(image, form) for image in images[rows]]

    return await workers.map(encode, len(images), images[0].nbytes)


def _encode(image: NDArray[np.generic], form: FileFormat) -> bytes:
    """Return the file of an image [H, W, C]."""
    pixels = np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form.name, **form.options)
    return file.getvalue()


def as_float32(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return images uint8 as value / 255, and vectors as they are."""
    if samples.dtype != np.uint8:
        return samples.astype(np.float32, copy=False)
    return samples.astype(np.float32) / np.float32(255)


def as_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return images that are value / 255, 0 to 1, as the nearest values."""
    levels: NDArray[np.uint8] = np.rint(images * np.float32(255)).astype(np.uint8)
    return levels
