"""Write XMP into picture files, and find it there."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PNG_KEYWORD = "XML:com.adobe.xmp"
"""Keyword of the text chunk with XMP in a PNG."""
_HEADER_END = 33  # of a PNG: signature and IHDR
_ITXT = b"iTXt" + PNG_KEYWORD.encode() + bytes(5)  # not compressed, no language, no translation


def png_with_xmp(file: bytes, xmp: bytes) -> bytes:
    """Return a PNG with XMP in front of its pixels; Pillow takes several times longer for the chunk."""
    chunk = b"%b%b" % (_ITXT, xmp)
    length, crc = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    return b"".join([file[:_HEADER_END], length, chunk, crc, file[_HEADER_END:]])


def write_marked(form: str, write: Callable[..., bytes], xmp: bytes | None) -> bytes:
    """Return the file that `write` makes, with XMP unless it is None.

    Args:
        form: Pillow's name of the format: PNG, JPEG or WEBP.
        write: Returns the file, given further options of Pillow.
        xmp: The XMP.
    """
    if xmp is None:
        return write()
    return png_with_xmp(write(), xmp) if form == "PNG" else write(xmp=xmp)


def xmp_of(info: dict[Any, Any]) -> bytes:
    """Return the XMP of an image that Pillow has loaded, from its `info`; empty if it has none."""
    found = info.get("xmp", info.get(PNG_KEYWORD, b""))
    return found if isinstance(found, bytes) else str(found).encode(errors="replace")
