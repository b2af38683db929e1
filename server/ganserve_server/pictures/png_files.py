"""Encode many small images as PNG at once: for pictures of 32 x 32 pixels, Pillow takes three times as long.

N = samples, H, W, C = image.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_UP = 2  # the filter that stores differences from the row above


def png_files(images: NDArray[np.uint8]) -> list[bytes]:
    """Return images [N, H, W, C], C from 1 to 4, as the bytes of PNG files (https://www.w3.org/TR/png-3)."""
    count, height, width, channels = images.shape
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0))
    end = _chunk(b"IEND", b"")
    rows = images.reshape(count, height, width * channels)
    filtered = np.empty((count, height, 1 + width * channels), np.uint8)
    filtered[..., 0] = _UP
    filtered[:, 0, 1:] = rows[:, 0]
    np.subtract(rows[:, 1:], rows[:, :-1], out=filtered[:, 1:, 1:])  # modulo 256
    return [b"".join((_SIGNATURE, header, _chunk(b"IDAT", zlib.compress(image)), end)) for image in filtered]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", zlib.crc32(kind + content))))
