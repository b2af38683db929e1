"""A data set's files in a zip archive, which stays packed."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ganserve_training.data.image_decoding import UnreadableError
from ganserve_training.data.layouts.tree import Listing, is_hidden
from ganserve_training.data.origin import PassedOver
from ganserve_training.errors import DataError
from ganserve_training.files import reading

_MOST_BYTES = 2**28
"""Largest file, unpacked, that is read."""


class ZipTree:
    """Files in a zip archive.

    Raises:
        DataError: It is not an archive, or is damaged or encrypted.
    """

    def __init__(self, archive: Path, endings: Sequence[str]) -> None:
        self.archive = archive
        self.passed_over: list[PassedOver] = []
        listing, folders, encrypted = Listing(endings), set[str](), 0
        self._entries: dict[str, str] = {}  # The archive's own name of each file.
        with reading(archive, "a zip archive"), zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
        for entry in entries:
            # Some programs on Windows write backslashes.
            parts = [part for part in entry.filename.replace("\\", "/").split("/") if part not in ("", ".", "..")]
            if not parts or any(map(is_hidden, parts)):
                continue
            is_folder = entry.is_dir()
            folders.update("/".join(parts[:depth]) for depth in range(1, len(parts) + is_folder))
            if is_folder:
                continue
            encrypted += entry.flag_bits & 1
            self._entries["/".join(parts)] = entry.filename
        if encrypted:
            raise DataError(f"{archive} is encrypted: unpack it, and give its folder with --data")
        for file in self._entries:
            listing.add(file)
        self.files, self.others, self.folders = sorted(listing.files), sorted(listing.others), sorted(folders)
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def name(self, file: str) -> str:
        """Return the archive's path and the file's in it."""
        return f"{self.archive}/{file}"

    def read(self, file: str) -> bytes:
        """Return the file's content, or raise UnreadableError."""
        name = self._entries.get(file)
        if name is None:
            raise UnreadableError("it is not in the archive")
        try:
            archive = self._archive()
            size = archive.getinfo(name).file_size
            if size > _MOST_BYTES:
                raise UnreadableError(f"it has {size:,} bytes, more than a picture needs")
            return archive.read(name)
        except UnreadableError:
            raise
        except Exception as error:  # zipfile raises many types for damaged archives.
            raise UnreadableError(f"the archive is damaged here: {error}") from error

    def sources(self, files: Iterable[str]) -> list[Path]:
        """Return the archive's path, and the files' in it."""
        return [self.archive, *map(Path, files)]

    def _archive(self) -> zipfile.ZipFile:
        """Return the open archive; a forked process opens its own, as forks would share the place in the file."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), zipfile.ZipFile(self.archive)
        return self._opened[1]
