"""What stores of encoded pictures share: each is decoded and digested once, and remembered."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ganserve_training.data.picture import PictureFacts, UnreadableError, decode_picture, picture_facts
from ganserve_training.data.stored_images import open_pool

_AT_ONCE = 1024  # What is handed to the pool at once, so that millions of pictures don't become millions of futures.


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one look at an encoded picture found."""

    facts: PictureFacts | str
    """What it is, or why it can't be read."""
    sha256: bytes
    """Digest of the encoded bytes; empty where there were none to read."""


def inspect_all(count: int, encoded: Callable[[int], bytes]) -> list[Inspected]:
    """Decode ``count`` pictures on several threads.

    Args:
        count: how many.
        encoded: gives the encoded bytes of one, or raises UnreadableError; called from several threads.
    """

    def inspect(index: int) -> Inspected:
        sha256 = b""
        try:
            data = encoded(index)
            sha256 = hashlib.sha256(data).digest()
            return Inspected(picture_facts(decode_picture(data)), sha256)
        except UnreadableError as error:
            return Inspected(str(error), sha256)

    found: list[Inspected] = []
    with open_pool() as pool:
        for start in range(0, count, _AT_ONCE):
            found.extend(pool.map(inspect, range(start, min(start + _AT_ONCE, count))))
    return found


def digest_inspected(names: Sequence[str], inspected: Sequence[Inspected]) -> str:
    """SHA-256 over names and contents, in hexadecimal."""
    digest = hashlib.sha256()
    for name, item in zip(names, inspected, strict=True):
        digest.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
        digest.update(item.sha256.ljust(32, b"\0"))
    return digest.hexdigest()
