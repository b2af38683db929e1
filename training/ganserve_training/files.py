"""Read and write users' files: what goes wrong becomes one kind of error, and no file is left half-written."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ganserve_training.errors import DataError, TrainingError, WriteError

TEMPORARY_SUFFIX = ".tmp"
_FIXES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free some space, and run the same command again"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "There is a file of that name: choose another folder"),
    errno.EROFS: "Choose a folder on a file system that can be written",
}


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, force it to disk, then rename it into place.

    Raises:
        WriteError: The file system refuses; the temporary file is gone then, and `path` is as it was.
    """
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    with writing(path):
        try:
            write(temporary)
            sync_to_disk(temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_to_disk(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Replace the content of `path` by `text`; what is not UTF-8, such as some names of files, is escaped."""
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8", "backslashreplace"))


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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a refusal of the file system to write a file into a WriteError that says what to do."""
    try:
        yield
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "Give yourself the right to write there, or choose another folder")
        raise WriteError(f"{path}: can't be written ({error.strerror or error}). {fix}.") from error


@contextmanager
def reading(path: Path | str, what: str, error: type[TrainingError] = DataError, *, fix: str = "") -> Iterator[None]:
    """Turn whatever a library raises for a file into one error that names the file and the reason.

    Put only the library's calls into the block: it also takes our own mistakes for damage.

    Args:
        path: The file.
        what: What it should be: "a .npy file", "JSON".
        error: The class of the error.
        fix: A sentence that says what to do.
    """
    try:
        yield
    except TrainingError:
        raise
    except Exception as problem:  # NumPy, Pillow, pyarrow, zipfile and torch raise anything for damaged files.
        raise error(f"{path}: can't be read as {what}: {reason_of(problem)}.{f' {fix}.' if fix else ''}") from problem


def reason_of(problem: Exception) -> str:
    """Return the first line of what an exception of a library says."""
    if isinstance(problem, MemoryError):
        return "it asks for more memory than there is, so it is damaged or too large"
    if isinstance(problem, UnicodeDecodeError):
        return "it is not in UTF-8: save it as UTF-8"
    said = (problem.strerror if isinstance(problem, OSError) else None) or str(problem)
    return said.strip().partition("\n")[0].rstrip(".") or type(problem).__name__
