"""Read the orientation from a picture's EXIF data, and nothing else of it (EXIF 2.32, sections 4.6.2 and 4.6.4)."""

from typing import Literal

_PREFIX = b"Exif\0\0"
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_TAG, _SHORT, _UPRIGHT = 0x0112, 3, 1
_ENTRY_BYTES, _MOST_ENTRIES = 12, 512


def read_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8; 1, which is upright, if the data have none or are damaged."""
    data = exif.removeprefix(_PREFIX)
    if data[:4] not in _ORDERS:
        return _UPRIGHT
    order = _ORDERS[data[:4]]

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    first = number(4, 4)
    for index in range(min(number(first, 2), _MOST_ENTRIES)):
        at = first + 2 + index * _ENTRY_BYTES
        if number(at, 2) == _TAG:
            value = number(at + 8, 2)
            return value if number(at + 2, 2) == _SHORT and 1 <= value <= 8 else _UPRIGHT
    return _UPRIGHT
