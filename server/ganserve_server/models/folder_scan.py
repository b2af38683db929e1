"""Find the packages in a folder, `<folder>/<name>/<version>`, and detect changes of their files."""

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ganserve_server.error_text import printable

Fingerprint = tuple[tuple[str, int, int, int, int], ...]
"""Name, size, times of the last change of content and of metadata, and inode of each file; () for no files."""

_VERSION = re.compile(r"[1-9][0-9]*")
_MOST_VERSION = 2**32 - 1  # the protocol's uint32


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """The packages in a folder at one moment."""

    packages: dict[str, dict[int, Path]] = field(default_factory=dict)
    """Folder of each package, by model name and version."""
    fingerprints: dict[Path, Fingerprint] = field(default_factory=dict)
    """Fingerprint of each package's folder."""
    ignored: list[str] = field(default_factory=list)
    """Folders that are not packages, each with the reason."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Folders that cannot be read, with the reason; their packages are unknown."""


def scan(folder: Path) -> Scan:
    """Scan a model repository; raise OSError if the folder cannot be read."""
    found = Scan()
    for model in _subfolders(folder):
        if not model.name.isprintable():  # no message could name it
            found.ignored.append(f"{printable(str(model))}: its name has characters that cannot be printed")
            continue
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
            if len(inner.name) > len(str(_MOST_VERSION)) or int(inner.name) > _MOST_VERSION:
                found.ignored.append(f"{inner}: a version is at most {_MOST_VERSION}")
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
            found.ignored.append(f"{model}: {_missing(model)}")
    return found


def _missing(model: Path) -> str:
    try:
        if (model / "manifest.json").is_file():
            return f"is a package, but lies where a model should: move it to {model.parent / 'NAME' / model.name}"
    except OSError:
        pass
    return f"has no version's folder, such as {model / '1'}"


def _subfolders(folder: Path) -> list[Path]:
    """Return the subfolders, except hidden ones: export writes packages into those before it publishes them."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _is_folder(path))


def _is_folder(path: Path) -> bool:
    """Return True for a folder; treat an inaccessible path as a folder, which is then reported as unreadable."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:  # a broken link, or just deleted
        return False
    except OSError:
        return True


def _note_unreadable(found: Scan, folder: Path, error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # else the folder is being removed or replaced right now
        found.unreadable[folder] = f"{folder}: cannot be read: {error.strerror}"
        found.ignored.append(found.unreadable[folder])


def _fingerprint(folder: Path) -> Fingerprint:
    files = []
    for path in sorted(folder.iterdir()):
        try:
            status = path.stat()
        except OSError:  # a broken link, such as an editor's lock, or a file just deleted
            files.append((path.name, -1, 0, 0, 0))
        else:
            files.append((path.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    return tuple(files)
