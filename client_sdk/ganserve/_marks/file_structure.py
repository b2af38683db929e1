"""Bound what a picture file makes Pillow do besides decoding its pixels.

Pillow inflates a PNG's text and profiles, walks a JPEG's segments in Python and joins those of EXIF one by one, and
libjpeg decodes the whole picture again for each scan of a progressive file: megabytes of such parts take seconds or
minutes. So Pillow gets files that are written anew from the parts that matter, and cannot read a length otherwise than
this module does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What the pixels depend on, the orientation, and whether it is an animation.
_KEPT_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL"})
_MOST_CHUNKS = 10_000
_MOST_EXIF_BYTES = 2**16  # as in JPEG
_MOST_SEGMENTS, _MOST_SCANS, _MOST_TABLE_BYTES = 1000, 100, 2**16
_SOI, _FILLING, _START_OF_SCAN, _COMMENT = b"\xff\xd8", 0xFF, 0xDA, 0xFE
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # stuffing, TEM, restarts, start of the image
_APPLICATION = range(0xE0, 0xF0)
# Frames and tables: ITU T.81, table B.1. Of each name below, the first segment: its colours and orientation, its XMP.
_TABLES = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, 0xDE, 0xDF}) - {0xC8}
_KEPT_NAMES = (b"\xe0JFIF\0", b"\xe1Exif\0\0", b"\xeeAdobe")
_XMP_NAME = b"\xe1http://ns.adobe.com/xap/1.0/\0"
_TEXTS = (b"iTXt", b"tEXt", b"zTXt")
_MOST_KEYWORD_BYTES = 80  # with the zero that ends it


class StructureError(Exception):
    """A file has too many parts; the message says which."""


def essential(file: bytes, texts: Collection[str] = ()) -> bytes:
    """Return a PNG or JPEG without the parts that its pixels and orientation do not depend on; another file unchanged.

    A damaged end stays as it is, for the decoder to refuse.

    Args:
        file: The file.
        texts: Keywords of text chunks of a PNG to keep, the first of each. With any, the XMP of a JPEG is kept, too.

    Raises:
        StructureError: It has too many parts, or damaged ones.
    """
    return _essential_png(_essential_jpeg(file, xmp=bool(texts)), {text.encode() for text in texts})


def _essential_png(file: bytes, texts: set[bytes]) -> bytes:
    if not file.startswith(_SIGNATURE):
        return file
    parts, kept_from, at, dropped = [], 0, len(_SIGNATURE), False
    for _ in range(_MOST_CHUNKS):
        end = at + 12 + int.from_bytes(file[at : at + 4], "big")
        kind = file[at + 4 : at + 8]
        if end > len(file):
            break
        kept = kind in _KEPT_CHUNKS and (kind != b"eXIf" or end - at <= _MOST_EXIF_BYTES)
        if kind in _TEXTS and (text := file[at + 8 : at + 8 + _MOST_KEYWORD_BYTES].partition(b"\0")[0]) in texts:
            kept = True
            texts.remove(text)
        if not kept:
            parts.append(file[kept_from:at])
            kept_from, dropped = end, True
        at = end
        if kind == b"IEND":
            break
    else:
        raise StructureError(f"has more than {_MOST_CHUNKS} chunks; save it again with an image editor")
    return b"".join([*parts, file[kept_from:]]) if dropped else file


def _essential_jpeg(file: bytes, *, xmp: bool) -> bytes:
    if not file.startswith(_SOI):
        return file
    if file.count(b"\xff\xda") > _MOST_SCANS:
        raise StructureError(f"has more than {_MOST_SCANS} scans; save it again with an image editor")
    names = {*_KEPT_NAMES, _XMP_NAME} if xmp else {*_KEPT_NAMES}
    parts, table_bytes, at = [_SOI], 0, len(_SOI)
    for _ in range(_MOST_SEGMENTS):
        at = file.find(b"\xff", at)
        if at < 0:
            return b"".join(parts)
        if at + 4 > len(file) or (marker := file[at + 1]) == _START_OF_SCAN:
            return b"".join([*parts, file[at:]])
        if marker == _FILLING or marker in _WITHOUT_LENGTH:
            at += 1 if marker == _FILLING else 2
            continue
        length = int.from_bytes(file[at + 2 : at + 4], "big")
        end = at + 2 + length
        is_table = marker in _TABLES
        if length < 2 or not (is_table or marker in _APPLICATION or marker == _COMMENT):
            raise StructureError(f"is damaged: it has the bytes {file[at : at + 4].hex()} where a segment begins")
        if end > len(file):
            return b"".join([*parts, file[at:]])
        name = next((one for one in names if one[0] == marker and file.startswith(one[1:], at + 4)), None)
        if is_table or name is not None:
            parts.append(file[at:end])
        names.discard(name or b"")
        table_bytes += length if is_table else 0
        if table_bytes > _MOST_TABLE_BYTES:
            raise StructureError(f"has more than {_MOST_TABLE_BYTES} bytes of tables; save it again")
        at = end
    raise StructureError(f"has more than {_MOST_SEGMENTS} segments; save it again with an image editor")
