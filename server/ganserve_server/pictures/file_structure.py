"""Bound what a picture file makes Pillow do besides decoding its pixels.

Pillow inflates a PNG's text and profiles and walks a JPEG's segments in Python, and libjpeg decodes the whole picture
again for each scan of a progressive file: megabytes of such parts take seconds.
"""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What the pixels depend on, the orientation, and whether it is an animation.
_KEPT_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL"})
_MOST_CHUNKS = 10_000
_MOST_EXIF_BYTES = 2**16  # as in JPEG
_MOST_SEGMENTS, _MOST_SCANS = 1000, 100
_START_OF_SCAN = 0xDA
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, restarts, start of the image


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


def check_jpeg(file: bytes) -> None:
    """Raise StructureError for a JPEG with too many segments or scans."""
    if file.count(b"\xff\xda") > _MOST_SCANS:
        raise StructureError(f"has more than {_MOST_SCANS} scans; save it again with an image editor")
    at = 2
    for _ in range(_MOST_SEGMENTS):
        at = file.find(b"\xff", at)
        if at < 0 or at + 4 > len(file):
            return
        marker = file[at + 1]
        if marker == _START_OF_SCAN:
            return
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(file[at + 2 : at + 4], "big")
    raise StructureError(f"has more than {_MOST_SEGMENTS} segments; save it again with an image editor")
