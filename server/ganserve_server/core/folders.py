"""Finds model packages in a folder, `<folder>/<name>/<version>`, and tells when their files changed."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    Fingerprint = tuple[tuple[str, int, int, int], ...]
    """Name, length, time of the last change and inode of each file, by name; of no files: empty."""

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


def scan(folder: Path) -> Scan:
    """Looks through a folder of models.

    Raises:
        OSError: It cannot be read.
    """
    found = Scan({}, {}, [])
    for model in _subfolders(folder):
        versions = {}
        for inner in _subfolders(model):
            if not _VERSION.fullmatch(inner.name):
                found.ignored.append(f"{inner}: a version's folder is named by a positive integer")
            elif fingerprint := _fingerprint(inner):
                versions[int(inner.name)] = inner
                found.fingerprints[inner] = fingerprint
            else:
                found.ignored.append(f"{inner}: is empty")
        if versions:
            found.packages[model.name] = dict(sorted(versions.items()))
        else:
            found.ignored.append(f"{model}: has no version's folder, such as {model / '1'}")
    return found


def _subfolders(folder: Path) -> list[Path]:
    """Names that begin with a dot are packages being written, or none at all."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())


def _fingerprint(folder: Path) -> Fingerprint:
    files = []
    try:
        for path in sorted(folder.iterdir()):
            stat = path.stat()
            files.append((path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino))
    except FileNotFoundError:
        return ()  # it is being taken away, or put in place, at this moment
    return tuple(files)
