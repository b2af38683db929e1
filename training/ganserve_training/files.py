"""Write files so that a crash at any moment leaves the old content or the new, never a part; hash files."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, force it to disk, then rename it into place."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    write(temporary)
    sync_to_disk(temporary)
    temporary.replace(path)
    sync_to_disk(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Replace the content of `path` by `text`."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def remove_temporary_files(folder: Path) -> None:
    """Delete what a killed process left half-written."""
    for path in folder.glob("*" + TEMPORARY_SUFFIX):
        path.unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Force a file's content, or a folder's entries (renames, new files), to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
