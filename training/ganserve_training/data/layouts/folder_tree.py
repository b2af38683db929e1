"""A data set's files in a folder, each real file once, however many links lead to it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganserve_training.data.image_decoding import UnreadableError
from ganserve_training.data.layouts.tree import Listing, is_hidden
from ganserve_training.data.origin import PassedOver
from ganserve_training.errors import DataError

_Identity = tuple[int, int]
"""Device and inode of a real file or folder."""


@dataclass(slots=True, eq=False)
class FolderTree:
    """Files below a folder."""

    root: Path
    files: list[str]
    others: list[str]
    folders: list[str]
    passed_over: list[PassedOver]

    @classmethod
    def walk(cls, root: Path, endings: Sequence[str]) -> FolderTree:
        """Return the files below `root` whose names end in one of `endings`, and the other files.

        Hidden files and folders are left out. Links are followed, after all that is really there; a file or folder that
        was seen already, such as one that a link leads back to, is passed over. A broken link counts as a file.

        Raises:
            DataError: A folder can't be read.
        """
        walk = _Walk(root, Listing(endings))
        walk.run()
        listing = walk.listing
        return cls(root, sorted(listing.files), sorted(listing.others), sorted(walk.folders), walk.passed_over())

    def name(self, file: str) -> str:
        """Return the file's path."""
        return str(self.root / file)

    def read(self, file: str) -> bytes:
        """Return the file's content, or raise UnreadableError."""
        try:
            return (self.root / file).read_bytes()
        except OSError as error:
            raise UnreadableError(error.strerror or str(error)) from error

    def sources(self, files: Iterable[str]) -> list[Path]:
        """Return the files' paths."""
        return [self.root / file for file in files]


class _Walk:
    """One pass over a folder: first what is really there, then the links."""

    def __init__(self, root: Path, listing: Listing) -> None:
        self.listing = listing
        self.folders: list[str] = []
        self._root = root
        real = root.resolve()
        # A link to a folder above the root would lead back to it.
        self._seen = {_identity(folder.stat()) for folder in (real, *real.parents)}
        self._links: list[str] = []
        self._again_files: list[str] = []
        self._again_folders: list[str] = []
        self._no_files: list[str] = []

    def run(self) -> None:
        """Walk over everything."""
        self._enter("")
        while self._links:
            links, self._links = sorted(self._links, key=lambda link: (link.count("/"), link)), []
            for link in links:
                self._follow(link)

    def passed_over(self) -> list[PassedOver]:
        """Return what was left out."""
        found = (
            (self._again_files, "link{s} to files that are taken already"),
            (self._again_folders, "link{s} to folders that are taken already"),
            (self._no_files, "pipe{s} or device{s}"),
        )
        return [
            PassedOver(
                len(paths), f"{what.format(s='s' if paths[1:] else '')} ({paths[0]}{', …' if paths[1:] else ''})"
            )
            for paths, what in found
            if paths
        ]

    def _enter(self, folder: str) -> None:
        try:
            entries = sorted(os.scandir(self._root / folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{self._root / folder} can't be read: {error.strerror or error}") from error
        for entry in entries:
            if is_hidden(entry.name):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink():
                self._links.append(path)
            elif entry.is_dir(follow_symlinks=False):
                self._seen.add(_identity(entry.stat(follow_symlinks=False)))
                self.folders.append(path)
                self._enter(path)
            else:
                self._add(path, entry.stat(follow_symlinks=False))

    def _follow(self, link: str) -> None:
        try:
            found = (self._root / link).stat()
        except OSError:  # It leads nowhere: reading it names the reason.
            self.listing.add(link)
            return
        if not stat.S_ISDIR(found.st_mode):
            self._add(link, found)
        elif _identity(found) in self._seen:
            self._again_folders.append(link)
        else:
            self._seen.add(_identity(found))
            self.folders.append(link)
            self._enter(link)

    def _add(self, path: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            self._no_files.append(path)
        elif found.st_ino and _identity(found) in self._seen:
            self._again_files.append(path)
        else:
            self._seen.add(_identity(found))
            self.listing.add(path)


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino
