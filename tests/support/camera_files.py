"""Pictures as cameras write them: stored sideways, with an orientation tag among tags that Pillow can't write again."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_ORIENTATION, _EXIF_FOLDER, _X_RESOLUTION = 0x0112, 0x8769, 0x011A
_EXPOSURE_BIAS, _GPS_FOLDER, _MAKER_NOTE = 0x9204, 0x8825, 0x927C
_TEXT, _SHORT, _LONG, _SIGNED_RATIO, _UNKNOWN = 2, 3, 4, 10, 129

TURNED: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}
"""Turn for each value of the tag (EXIF 2.3, table 6): stored pixels [H, W, C] -> the picture as it was seen."""


def exif(orientation: int, trouble: str) -> bytes:
    """Return EXIF data with an orientation, and something that some camera or program writes."""
    entries = [_entry(_ORIENTATION, _SHORT, 1, struct.pack("<HH", orientation, 0))]
    after = b""
    start = 8 + 2 + 12 * 2 + 4  # The second folder follows the first, which has two entries.
    if trouble == "exposure bias of -2/0":
        entries.append(_entry(_EXIF_FOLDER, _LONG, 1, struct.pack("<I", start)))
        inner = _folder([_entry(_EXPOSURE_BIAS, _SIGNED_RATIO, 1, struct.pack("<I", start + 18))])
        after = inner + struct.pack("<ii", -2, 0)
    elif trouble == "resolution as text":
        entries.insert(0, _entry(_X_RESOLUTION, _TEXT, 4, b"72\0\0"))
    elif trouble == "resolution as text that isn't ASCII":
        entries.insert(0, _entry(_X_RESOLUTION, _TEXT, 4, b"\xff\xfe7\0"))
    elif trouble == "folder that ends early":
        entries.append(_entry(_EXIF_FOLDER, _LONG, 1, struct.pack("<I", start)))
        after = struct.pack("<H", 500)
    elif trouble == "folder beyond the end":
        entries.append(_entry(_GPS_FOLDER, _LONG, 1, struct.pack("<I", 2**31 - 8)))
    elif trouble == "folder that holds itself":
        entries.append(_entry(_EXIF_FOLDER, _LONG, 1, struct.pack("<I", 8)))
    elif trouble == "unknown type":
        entries.append(_entry(_MAKER_NOTE, _UNKNOWN, 3, b"abc\0"))
    elif trouble == "none":
        entries.append(_entry(0x0128, _SHORT, 1, struct.pack("<HH", 2, 0)))
    else:
        raise ValueError(trouble)
    return b"Exif\0\0II*\0\x08\0\0\0" + _folder(entries) + after


TROUBLES = (
    *("none", "exposure bias of -2/0", "resolution as text", "resolution as text that isn't ASCII"),
    *("folder that ends early", "folder beyond the end", "folder that holds itself", "unknown type"),
)

DAMAGED = (b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0*\0\0\0\x08\0\x09")
"""EXIF data in which no orientation can be found."""


ONLY_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
"""XMP with an orientation, which viewers do not follow."""


def picture_file(stored: NDArray[np.uint8], tags: bytes = b"", form: str = "PNG", xmp: bytes = b"") -> bytes:
    """Return an encoded picture of uint8 [H, W, C] with these EXIF data, byte for byte, or this XMP."""
    stream = io.BytesIO()
    options: dict[str, Any] = {"exif": tags} if tags else {}
    if xmp and form == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif xmp:
        options["xmp"] = xmp
    options |= {"quality": 100, "subsampling": 0} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    Image.fromarray(stored[..., 0] if stored.shape[-1] == 1 else stored).save(stream, form, **options)
    return stream.getvalue()


def _entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value


def _folder(entries: list[bytes]) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
