"""Find and open the files to score: in a folder, a single file, or behind a URL."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ganserve_server.errors import BulkError, JobError

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
PARQUET = (".parquet", ".pq")
ARCHIVES = (".tar",)
TABLE = "metadata.csv"
"""Table with the labels of the pictures beside it, as `ganserve generate --format png` writes it."""
_KINDS = {"pictures": PICTURES, "parquet": PARQUET, "webdataset": ARCHIVES}


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one kind."""

    place: str
    """Their folder, or the only file, or a URL."""
    kind: str
    """pictures, parquet or webdataset."""
    files: tuple[tuple[str, int], ...]
    """Path below the place, with slashes, and size in bytes; "" for the place itself. In the order of their names."""
    tables: frozenset[str] = frozenset()
    """Folders that have a `TABLE`."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; raise BulkError if it cannot be read."""
        with refusals(self.place):
            if "://" not in self.place:
                return Path(self.place, name).open("rb") if name else Path(self.place).open("rb")
            import fsspec

            file: IO[bytes] = fsspec.open(f"{self.place.rstrip('/')}/{name}" if name else self.place, "rb").open()
            return file


def find_source(place: str) -> Source:
    """Return the files in a place; raise BulkError if there are none, or of several kinds."""
    with refusals(place, JobError):
        found = _below_url(place) if "://" in place else _below(Path(place))
    by_kind: dict[str, list[tuple[str, int]]] = {}
    tables = set()
    for name, size in sorted(found):
        shown = name or place
        if shown.rpartition("/")[2] == TABLE:
            tables.add(name.rpartition("/")[0])
        for kind, endings in _KINDS.items():
            if shown.lower().endswith(endings):
                by_kind.setdefault(kind, []).append((name, size))
    if len(by_kind) != 1:
        several = f"has several kinds of files, {' and '.join(by_kind)}. Give a place with one kind"
        known = ", ".join(ending for each in _KINDS.values() for ending in each)
        raise JobError(f"FILES {place}: {several if by_kind else f'has no files to score, which end in {known}'}.")
    ((kind, files),) = by_kind.items()
    return Source(place, kind, tuple(files), frozenset(tables))


def _below(path: Path) -> list[tuple[str, int]]:
    if not path.is_dir():
        return [("", path.stat().st_size)]
    found = []
    for folder, names in _folders(path):
        for name in names:
            if not _hidden(name):
                file = folder / name
                found.append((file.relative_to(path).as_posix(), file.stat().st_size))
    return found


def _folders(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder below one, itself included, and the names of its files.

    Links to folders are followed after all real folders have been read, and only to those that have not.
    """
    waiting, seen = [top], set()
    while waiting:
        for place, folders, names in os.walk(waiting.pop(0), onerror=_raise):
            folder = Path(place)
            facts = folder.stat()
            if (facts.st_dev, facts.st_ino) in seen:
                folders.clear()
                continue
            seen.add((facts.st_dev, facts.st_ino))
            folders[:] = sorted(name for name in folders if not _hidden(name))
            waiting += [folder / name for name in folders if (folder / name).is_symlink()]
            yield folder, names


def _below_url(url: str) -> list[tuple[str, int]]:
    try:
        import fsspec
    except ImportError:
        missing = "URLs need fsspec, which is not installed. Run pip install 'ganserve[bulk]'."
        raise JobError(f"FILES {url}: {missing}") from None
    files, root = fsspec.core.url_to_fs(url)
    details = files.find(root, detail=True)
    if set(details) == {root}:
        return [("", details[root]["size"])]
    pairs = [(path.removeprefix(root).lstrip("/"), facts["size"]) for path, facts in details.items()]
    return [(name, size) for name, size in pairs if not any(map(_hidden, name.split("/")))]


def _hidden(name: str) -> bool:
    """Return True for names that readers of data sets pass over."""
    return name.startswith((".", "_"))


def _raise(error: OSError) -> None:
    raise error


@contextlib.contextmanager
def refusals(place: str, kind: type[BulkError] = BulkError) -> Iterator[None]:
    """Turn errors of file systems and networks into one that says what to do."""
    try:
        yield
    except BulkError:
        raise
    except Exception as error:
        reason, shown = str(error).strip() or type(error).__name__, place
        if isinstance(error, OSError) and error.strerror:
            reason, shown = error.strerror, error.filename or place
        raise kind(f"FILES {shown}: {reason.rstrip('.')}. Give files that can be read.") from error
