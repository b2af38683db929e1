"""Define the picture formats, which models they fit, and how many bytes a sample can take.

H, W, C = image.
"""

from dataclasses import dataclass
from typing import Any

from ganserve.v1 import tensor_pb2
from ganserve_server.models.manifest_checks import ModelInfo

_FILE_OVERHEAD_BYTES = 6  # tag and length of one file in a message


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFormat:
    """A format of picture files."""

    name: str
    """Pillow's name of the format."""
    largest_side_px: int
    has_alpha: bool
    options: dict[str, Any]
    """Pillow's options, fixed so that a sample always gives the same file."""


FORMATS: dict[tensor_pb2.Encoding.ValueType, FileFormat] = {
    tensor_pb2.ENCODING_PNG: FileFormat(name="PNG", largest_side_px=2**31 - 1, has_alpha=True, options={}),
    # Full colour resolution (4:4:4): in small images, subsampled colours are visible.
    tensor_pb2.ENCODING_JPEG: FileFormat(
        name="JPEG", largest_side_px=65_500, has_alpha=False, options={"quality": 95, "subsampling": 0}
    ),
    tensor_pb2.ENCODING_WEBP: FileFormat(name="WEBP", largest_side_px=16_383, has_alpha=True, options={"quality": 90}),
}


def is_image(info: ModelInfo) -> bool:
    """Return True if a model's samples are images, uint8 [H, W, C]; False for vectors, float32 [D]."""
    return len(info.sample_shape) == 3


def encoding_obstacle(info: ModelInfo, encoding: tensor_pb2.Encoding.ValueType) -> str:
    """Explain why a model's samples do not fit an encoding; empty if they do."""
    if encoding not in FORMATS:
        return ""
    name, form = tensor_pb2.Encoding.Name(encoding), FORMATS[encoding]
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
    """Return the most bytes that one sample can take in a message; the samples fit the encoding."""
    if encoding == tensor_pb2.ENCODING_FLOAT32:
        return info.sample_bytes * (4 if is_image(info) else 1)
    if encoding not in FORMATS:
        return info.sample_bytes
    height, width, channels = info.sample_shape
    if encoding == tensor_pb2.ENCODING_PNG:
        # One filter byte a row. Deflate adds at most an eighth to incompressible data at its fastest level, and far
        # less at others. Then 12 bytes around each 64 KiB, and signature, header, last chunk and first block.
        raw = height * (1 + width * channels)
        return raw + raw // 8 + 12 * (raw // 2**16) + 1024 + _FILE_OVERHEAD_BYTES
    # JPEG: per value a code of 16 bits, 11 bits of coefficient and a stuffed byte for each byte of ones: less than
    # 5 bytes, in whole blocks; the tables take 650 bytes. WebP needs less, and halves the colours' resolution.
    padded = (height + 15) // 16 * 16 * ((width + 15) // 16 * 16)
    return 5 * padded * channels + 1024 + _FILE_OVERHEAD_BYTES
