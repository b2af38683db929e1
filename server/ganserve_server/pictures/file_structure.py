"""Bound what a picture file makes Pillow do besides decoding its pixels.

Pillow inflates a PNG's text and profiles, walks a JPEG's segments in Python and joins those of EXIF one by one, and
libjpeg decodes the whole picture again for each scan of a progressive file: megabytes of such parts take seconds or
minutes. So Pillow gets files that are written anew from the parts that matter, and cannot read a length otherwise than
this module does.
"""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What the pixels depend on, the orientation, and whether it is an animation.
_KEPT_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL"})
_MOST_CHUNKS = 10_000
_MOST_EXIF_BYTES = 2**16  # as in JPEG
_MOST_SEGMENTS, _MOST_SCANS, _MOST_TABLE_BYTES = 1000, 100, 2**16
_SOI, _FILLING, _START_OF_SCAN, _COMMENT = b"\xff\xd8", 0xFF, 0xDA, 0xFE
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # stuffing, TEM, restarts, start of the image
_APPLICATION = range(0xE0, 0xF0)
# Frames and tables: ITU T.81, table B.1. Of each name below, the first segment: its colours and orientation.
_TABLES = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, 0xDE, 0xDF}) - {0xC8}
_KEPT_NAMES = {0xE0: b"JFIF\0", 0xE1: b"Exif\0\0", 0xEE: b"Adobe"}


class StructureError(Exception):
    """A file has too many parts; the message says which."""


def essential_png(file: bytes) -> bytes:
    """Return a PNG without the chunks that its pixels and orientation do not depend on; another file unchanged.

    A damaged end stays as it is, for the decoder to refuse. Raises StructureError.
    """
    if not file.startswith(_SIGNATURE):
        return file
    parts, kept_from, at, dropped = [], 0, len(_SIGNATURE), False
    for _ in range(_MOST_CHUNKS):
        end = at + 12 + int.from_bytes(file[at : at + 4], "big")
        kind = file[at + 4 : at + 8]
        if end > len(file):
            break
        if kind not in _KEPT_CHUNKS or (kind == b"eXIf" and end - at > _MOST_EXIF_BYTES):
            parts.append(file[kept_from:at])
            kept_from, dropped = end, True
        at = end
        if kind == b"IEND":
            break
    else:
        raise StructureError(f"has more than {_MOST_CHUNKS} chunks; save it again with an image editor")
    return b"".join([*parts, file[kept_from:]]) if dropped else file


def essential_jpeg(file: bytes) -> bytes:
    """Return a JPEG without the segments that its pixels and orientation do not depend on; another file unchanged.

    A damaged end stays as it is, for the decoder to refuse. Raises StructureError.
    """
    if not file.startswith(_SOI):
        return file
    if file.count(b"\xff\xda") > _MOST_SCANS:
        raise StructureError(f"has more than {_MOST_SCANS} scans; save it again with an image editor")
    parts, named, table_bytes, at = [_SOI], set(), 0, len(_SOI)
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
        if is_table or (marker not in named and _is_named(file, at + 4, marker)):
            parts.append(file[at:end])
            named.add(marker)
        table_bytes += length if is_table else 0
        if table_bytes > _MOST_TABLE_BYTES:
            raise StructureError(f"has more than {_MOST_TABLE_BYTES} bytes of tables; save it again")
        at = end
    raise StructureError(f"has more than {_MOST_SEGMENTS} segments; save it again with an image editor")


def _is_named(file: bytes, at: int, marker: int) -> bool:
    return marker in _KEPT_NAMES and file.startswith(_KEPT_NAMES[marker], at)
