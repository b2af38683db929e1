"""Turn pictures as the orientation in their EXIF data says (EXIF 2.32, sections 4.6.2 and 4.6.4).

Training, server and SDK all turn pictures here, so that they see the same one. No other tag is read, and no XMP, which
viewers do not follow either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import PIL.Image

_PREFIX = b"Exif\0\0"
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_TAG, _SIZES, _UPRIGHT = 0x0112, {3: 2, 4: 4}, 1  # the tag is a SHORT; some programs write a LONG
_ENTRY_BYTES, _MOST_ENTRIES = 12, 512
# The names of Pillow's operations.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return a picture turned as its orientation says; a picture whose data are damaged stays as it is.

    All other tags stay, too: writing them again, as Pillow's `exif_transpose` does, fails for some that cameras write.
    """
    image.load()  # a PNG may have its orientation behind the pixels
    exif = image.info.get("exif")
    turn = _TURNS.get(read_orientation(exif)) if isinstance(exif, bytes) else None
    if turn is None:
        return image
    from PIL import Image

    return image.transpose(Image.Transpose[turn])


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
            value = number(at + 8, _SIZES.get(number(at + 2, 2), 0))
            return value if 1 <= value <= 8 else _UPRIGHT
    return _UPRIGHT
