"""Decode and digest each encoded picture once, and remember the result."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.image_decoding import (
    ImageForm,
    PictureFacts,
    UnreadableError,
    decode_picture,
    picture_facts,
)
from ganserve_training.data.storage.stored_images import PictureStore, open_pool

_AT_ONCE = 1024  # Pictures submitted at once, to limit the number of futures.


@dataclass(frozen=True, slots=True)
class Inspected:
    """Result of decoding a picture once."""

    facts: PictureFacts | str
    """Its size and channels, or why it can't be read."""
    sha256: bytes
    """Digest of the encoded bytes; empty where there were none to read."""


@lru_cache(maxsize=2)
def _remembered(_signature: bytes) -> list[Inspected]:
    """Return the results for a set of unchanged files; a caller that gets an empty list fills it."""
    return []


def _sign(files: Sequence[Path]) -> bytes:
    """Return a digest of paths, sizes and times of change."""
    digest = hashlib.sha256()
    for file in files:
        try:
            status = file.stat()
            seen: tuple[int, ...] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except OSError:
            seen = ()
        digest.update(repr((str(file.absolute()), seen)).encode("utf-8", "surrogateescape"))
    return digest.digest()


def digest_inspected(names: Sequence[str], inspected: Sequence[Inspected]) -> str:
    """Return a SHA-256 over names and contents, in hexadecimal."""
    digest = hashlib.sha256()
    for name, item in zip(names, inspected, strict=True):
        digest.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
        digest.update(item.sha256.ljust(32, b"\0"))
    return digest.hexdigest()


class EncodedStore(PictureStore):
    """Encoded pictures that are decoded when inspected or read; a subclass gives their bytes."""

    _inspected: list[Inspected]

    def inspect(self) -> list[PictureFacts | str]:
        """Decode each picture once; return its facts, or why it can't be read."""
        return [item.facts for item in self._inspect()]

    def read(self, index: int, form: ImageForm) -> NDArray[np.uint8]:
        """Return the picture at `index` in a form, uint8 [S, S, C]."""
        return form.apply(decode_picture(self._encoded(index)))

    def _inspect(self) -> list[Inspected]:
        """Decode all pictures, or return the remembered result for the same unchanged files.

        Both sides of a split, the monitor and the judge read the same files; each would decode them all otherwise.
        """
        if not self._inspected:
            self._inspected = _remembered(_sign(self._sources()))
            if not self._inspected:
                self._inspected[:] = self._inspect_all()
        return self._inspected

    def _inspect_all(self) -> list[Inspected]:
        found: list[Inspected] = []
        with open_pool() as pool:
            for start in range(0, len(self), _AT_ONCE):
                found.extend(pool.map(self._inspect_one, range(start, min(start + _AT_ONCE, len(self)))))
        return found

    def _inspect_one(self, index: int) -> Inspected:
        sha256 = b""
        try:
            data = self._encoded(index)
            sha256 = hashlib.sha256(data).digest()
            return Inspected(picture_facts(decode_picture(data)), sha256)
        except UnreadableError as error:
            return Inspected(str(error), sha256)

    def _sources(self) -> Sequence[Path]:
        """Return the pictures' files."""
        raise NotImplementedError

    def _encoded(self, index: int) -> bytes:
        """Return the encoded picture at `index`, or raise UnreadableError."""
        raise NotImplementedError
