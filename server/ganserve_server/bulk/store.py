"""Keep the shards of a job in a folder or behind a URL, each of them whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from ganserve_server.errors import BulkError, JobError
from ganserve_server.owned_folder import owned_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

JOB_FILE = "_job.json"
"""Describes the job. Readers of Parquet folders pass over names that begin with an underscore."""
INDEX_FILE = "metadata.csv"
"""The last file of a shard that is a folder."""
_PART, _LOCK = ".part", ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # as network file systems say it
# These show an object only once all of it has arrived.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "hf", "memory"}


class Store(ABC):
    """The place of a job's shards: files, or folders with an `INDEX_FILE`."""

    def __init__(self, place: str) -> None:
        self.place = place

    @abstractmethod
    def names(self) -> set[str]:
        """Return the names of the files and folders in the place, and of each folder's index as FOLDER/INDEX_FILE."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether there is a file of this name, such as a shard's mark."""

    @abstractmethod
    def read(self, name: str) -> str | None:
        """Return the text of a small file; None if there is none."""

    @abstractmethod
    def open(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Open a file to read parts of it."""

    @abstractmethod
    def scratch(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Return a path to fill with a file or a folder, which becomes `name` once the block ends without an error."""

    @abstractmethod
    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes of this machine from writing there inside the block, where that is possible."""

    def write_text(self, name: str, text: str) -> None:
        """Write a small file."""
        with self.scratch(name) as path:
            path.write_text(text, "utf-8")


def open_store(place: str, argument: str = "--out") -> Store:
    """Return the store of a path or URL, which `argument` named; make the folder of a path.

    Raises BulkError if the place cannot be used.
    """
    path = place.removeprefix("file://")
    if path != place and not path.startswith("/"):
        raise JobError(f"{argument} {place}: has no whole path. Write it like file:///data, or without file://.")
    if path != place or "://" not in place:
        return FolderStore(Path(path), argument)
    return UrlStore(place, argument)


class FolderStore(Store):
    """A folder that this machine can write to."""

    def __init__(self, folder: Path, argument: str = "--out") -> None:
        """Make the folder."""
        super().__init__(str(folder))
        self._folder, self._argument = folder, argument
        with self._refusals(JobError):
            folder.mkdir(parents=True, exist_ok=True)

    def names(self) -> set[str]:
        """Return the names of the files and folders."""
        with self._refusals():
            found = {path.name for path in self._folder.iterdir() if not path.name.startswith(".")}
            indices = {f"{name}/{INDEX_FILE}" for name in found if (self._folder / name / INDEX_FILE).exists()}
        return found | indices

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with self._refusals():
            return (self._folder / name).exists()

    def read(self, name: str) -> str | None:
        """Return the text of a small file."""
        with self._refusals():
            try:
                return (self._folder / name).read_text("utf-8", "replace")
            except FileNotFoundError:
                return None

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to read parts of it."""
        with self._refusals(), (self._folder / name).open("rb") as file:
            yield file

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Return a hidden path in the folder, which is renamed."""
        path = self._folder / f".{name}.{uuid.uuid4().hex}{_PART}"
        try:
            with self._refusals():
                yield path
                _to_disk(path)
                _rename(path, self._folder / name)
        finally:
            _remove(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold a lock, which ends with the process, and remove unfinished files of killed processes and workers."""
        path = self._folder / _LOCK
        with self._refusals(), path.open("a+") as file:
            if not _lock(file):
                file.seek(0)
                raise BulkError(
                    f"{self._argument} {self.place}: process {file.read().strip()} writes there. Wait until it ends, "
                    "or give another place."
                )
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self._remove_unfinished()
            try:
                yield
            finally:
                self._remove_unfinished()  # of a cluster's workers that were killed meanwhile
                path.unlink(missing_ok=True)

    def _remove_unfinished(self) -> None:
        for part in self._folder.glob(f".*{_PART}"):
            _remove(part)

    @contextlib.contextmanager
    def _refusals(self, kind: type[BulkError] = BulkError) -> Iterator[None]:
        """Turn errors of the file system into one that says what to do."""
        try:
            yield
        except OSError as error:
            raise kind(
                f"{self._argument} {self.place}: {error.strerror or error}. Make it a folder with space that you may "
                "write to, and run the same command again: finished shards stay."
            ) from error


class UrlStore(Store):
    """A place that fsspec can write to, such as a bucket."""

    def __init__(self, url: str, argument: str = "--out") -> None:
        """Connect; the credentials are those of fsspec's implementation."""
        super().__init__(url.rstrip("/"))
        self._argument = argument
        try:
            import fsspec
        except ImportError:
            raise JobError(
                f"{argument} {url}: URLs need fsspec, which is not installed. Run pip install 'ganserve[bulk]'."
            ) from None
        with self._refusals(JobError):
            self._files, self._root = fsspec.core.url_to_fs(self.place)
        protocols = self._files.protocol
        known = {protocols} if isinstance(protocols, str) else set(protocols)
        self._whole = bool(known & _OBJECT_STORES)

    def names(self) -> set[str]:
        """Return the names of the files and folders."""
        with self._refusals():
            self._files.invalidate_cache()
            if not self._files.exists(self._root):
                return set()
            root = self._files._strip_protocol(self._root).rstrip("/")  # noqa: SLF001 - fsspec's own callers use it
            below = [path.removeprefix(root).lstrip("/") for path in self._files.find(root)]
        found = {path.split("/")[0] for path in below if not path.startswith(".")}
        return found | {path for path in below if path.count("/") == 1 and path.endswith(f"/{INDEX_FILE}")}

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with self._refusals():
            self._files.invalidate_cache()
            return bool(self._files.exists(self._path(name)))

    def read(self, name: str) -> str | None:
        """Return the text of a small file."""
        with self._refusals():
            try:
                content: bytes = self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return content.decode("utf-8", "replace")

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to read parts of it."""
        with self._refusals(), self._files.open(self._path(name), "rb") as file:
            yield file

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Return a path on this machine, which is uploaded."""
        try:
            with owned_folder("ganserve-bulk-") as folder:
                yield folder / name
                with self._refusals():
                    self._upload(folder / name, name)
        except OSError as error:
            fix = "Free some space there, or set TMPDIR, and run the same command again"
            place = tempfile.gettempdir()
            raise BulkError(f"{place}: {error.strerror or error}. {fix}: finished shards stay.") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing: two jobs would write the same bytes twice."""
        yield

    def _upload(self, path: Path, name: str) -> None:
        if path.is_dir():
            files = sorted(path.iterdir(), key=lambda file: (file.name == INDEX_FILE, file.name))
            self._files.makedirs(self._path(name), exist_ok=True)
            for file in files:
                self._put(file, f"{name}/{file.name}")
        else:
            self._files.makedirs(self._root, exist_ok=True)
            self._put(path, name)

    def _put(self, path: Path, name: str) -> None:
        if self._whole:
            self._files.put_file(str(path), self._path(name))
            return
        folder, _, last = self._path(name).rpartition("/")
        part = f"{folder}/.{last}.{uuid.uuid4().hex}{_PART}"
        self._files.put_file(str(path), part)
        self._files.mv(part, self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextlib.contextmanager
    def _refusals(self, kind: type[BulkError] = BulkError) -> Iterator[None]:
        """Turn the many errors of networks and their libraries into one that says what to do."""
        try:
            yield
        except BulkError:
            raise
        except Exception as error:
            reason = str(error).strip().rstrip(".") or type(error).__name__
            raise kind(
                f"{self._argument} {self.place}: {reason}. Put it right, and run the same command again: finished "
                "shards stay."
            ) from error


def _lock(file: TextIO) -> bool:
    """Lock a file for this process, where the file system can; return False if another one holds the lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _to_disk(path: Path) -> None:
    """Force a file, or the files of a folder, to disk, so that a name never outlives its content."""
    if path.is_dir():
        os.sync()  # Thousands of files one by one take minutes.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(path: Path, target: Path) -> None:
    if path.is_dir() and target.is_dir():  # a folder is not replaced; an unfinished one has no index
        if (target / INDEX_FILE).exists():
            return
        shutil.rmtree(target)
    path.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def same_or_refuse(store: Store, wanted: dict[str, Any], found: dict[str, Any], argument: str = "--out") -> None:
    """Raise BulkError if a place holds another job than the wanted one; name what differs."""
    if wanted.get("kind") != found.get("kind"):  # the rest has other names
        wanted, found = ({"kind": each.get("kind")} for each in (wanted, found))
    differing = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    if differing:
        changes = ", ".join(f"{key} {_said(found.get(key))} (now {_said(wanted.get(key))})" for key in differing)
        raise JobError(
            f"{argument} {store.place}: holds the shards of another job: {changes}. Run that one again to continue it, "
            "or give another place."
        )


def _said(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
