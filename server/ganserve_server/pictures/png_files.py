"""Encode many small images as PNG at once: for pictures of 32 x 32 pixels, Pillow takes several times as long.

libdeflate compresses, in a third of zlib's time, to the same bytes with the same version of `deflate`, whose wheels
contain it. The system's zlib may be another library on another machine. N = samples, H, W, C = image.
"""

import struct

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_UP = 2  # the filter that stores differences from the row above
_LEVEL = 1  # files are up to 3 % larger than by zlib


def png_files(images: NDArray[np.uint8]) -> list[bytes]:
    """Return images [N, H, W, C], C from 1 to 4, as the bytes of PNG files (https://www.w3.org/TR/png-3)."""
    import deflate

    def chunk(kind: bytes, content: bytes | bytearray) -> bytes:
        crc = deflate.crc32(content, deflate.crc32(kind))
        return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", crc)))

    count, height, width, channels = images.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0))
    end = chunk(b"IEND", b"")
    rows = images.reshape(count, height, width * channels)
    filtered = np.empty((count, height, 1 + width * channels), np.uint8)
    filtered[..., 0] = _UP
    filtered[:, 0, 1:] = rows[:, 0]
    np.subtract(rows[:, 1:], rows[:, :-1], out=filtered[:, 1:, 1:])  # modulo 256
    packed = (deflate.zlib_compress(image, _LEVEL) for image in filtered)
    return [b"".join((_SIGNATURE, header, chunk(b"IDAT", image), end)) for image in packed]
