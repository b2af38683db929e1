"""Finds model packages in a folder, `<folder>/<name>/<version>`, and tells when their files changed."""

from __future__ import annotations

import dataclasses
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    Fingerprint = tuple[tuple[str, int, int, int, int], ...]
    """Name, length, times of the content's and the file's last change, and inode of each file; of no files: empty."""

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclasses.dataclass(frozen=True, slots=True)
class Scan:
    """What a folder held at one moment."""

    packages: dict[str, dict[int, Path]]
    """The folder of each version of each model, by name and version."""
    fingerprints: dict[Path, Fingerprint]
    """Of each of these folders."""
    ignored: list[str]
    """Folders that look like no package, each with the reason."""
    unreadable: dict[Path, str]
    """Folders of models and versions that could not be looked into, with the reason: what is in them is not known."""


def scan(folder: Path) -> Scan:
    """Look through a folder of models.

    Raises:
        OSError: It cannot be read.
    """
    found = Scan({}, {}, [], {})
    for model in _subfolders(folder):
        versions = {}
        try:
            inside = _subfolders(model)
        except OSError as error:
            _note_unreadable(found, model, error)
            continue
        for inner in inside:
            if not _VERSION.fullmatch(inner.name):
                found.ignored.append(f"{inner}: a version's folder is named by a positive integer")
                continue
            try:
                fingerprint = _fingerprint(inner)
            except OSError as error:
                _note_unreadable(found, inner, error)
                continue
            if fingerprint:
                versions[int(inner.name)] = inner
                found.fingerprints[inner] = fingerprint
            else:
                found.ignored.append(f"{inner}: is empty")
        if versions or found.unreadable.keys() & set(inside):
            found.packages[model.name] = dict(sorted(versions.items()))
        else:
            found.ignored.append(f"{model}: has no version's folder, such as {model / '1'}")
    return found


def _subfolders(folder: Path) -> list[Path]:
    """Names that begin with a dot are packages being written, or none at all."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _is_folder(path))


def _is_folder(path: Path) -> bool:
    """Tells whether it is one; what nobody may look at is taken for one, and then found to be unreadable."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:  # a link that leads nowhere, or what is gone by now
        return False
    except OSError:
        return True


def _note_unreadable(found: Scan, folder: Path, error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # else it is being taken away, or put in place, at this moment
        found.unreadable[folder] = f"{folder}: cannot be read: {error.strerror}"
        found.ignored.append(found.unreadable[folder])


def _fingerprint(folder: Path) -> Fingerprint:
    files = []
    for path in sorted(folder.iterdir()):
        try:
            stat = path.stat()
        except OSError:  # a link that leads nowhere, such as an editor's lock, or a file that is gone by now
            files.append((path.name, -1, 0, 0, 0))
        else:
            files.append((path.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
    return tuple(files)
