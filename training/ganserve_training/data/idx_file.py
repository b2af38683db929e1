"""Read the IDX format of MNIST (LeCun et al. 1998): big-endian sizes, then the bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganserve_training.errors import DataError
from ganserve_training.files import reading

_UNSIGNED_BYTE = 0x08
_GZIP = b"\x1f\x8b"


def holds_idx_images(path: Path) -> bool:
    """Return whether a file begins as an IDX file of images does, plain or gzipped."""
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == _GZIP
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            return file.read(4) in (b"\0\0\x08\x03", b"\0\0\x08\x04")
    except (OSError, EOFError, zlib.error):  # Whoever reads it says what is wrong.
        return False


def read_idx(path: Path, *, dimensions: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the array in an IDX file of unsigned bytes, plain or gzipped.

    `dimensions` lists the allowed numbers of axes: 1 for labels, 3 or 4 for images.

    Raises:
        DataError: The file's magic number, dimensions or length are wrong.
    """
    with reading(path, "an IDX file"):
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
    expected = " or ".join(f"0x0000080{count}" for count in dimensions)
    if len(data) < 4:
        raise DataError(f"{path} is not an IDX file: it has {len(data)} bytes, fewer than the 4 of the magic number")
    zeros, kind, count = struct.unpack(">HBB", data[:4])
    if zeros != 0 or kind != _UNSIGNED_BYTE or count not in dimensions:
        raise DataError(f"{path} must start with the IDX magic number {expected} (got 0x{data[:4].hex()})")
    header = 4 + 4 * count
    if len(data) < header:
        raise DataError(f"{path} is truncated: its header alone should have {header} bytes (got {len(data)})")
    shape = struct.unpack(f">{count}I", data[4:header])
    size = header + math.prod(shape)
    if len(data) != size:
        what = "truncated" if len(data) < size else "too long"
        sizes = " x ".join(map(str, shape))
        raise DataError(f"{path} is {what}: {sizes} bytes and its header are {size:,} (got {len(data):,})")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
