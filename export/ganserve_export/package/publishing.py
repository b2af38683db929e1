"""Publish packages: collect the files in a hidden folder, then rename it into place as the model's next version."""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import BadUsageError, ExportError
from ganserve_export.package.manifest import MANIFEST, write_manifest
from ganserve_training.errors import WriteError
from ganserve_training.files import file_sha256, sync_to_disk, writing

_STAGING = ".export-"
_STARTING_S = 60.0
_MOST_NAMED = 3
_MOST_VERSION = 2**32 - 1  # the protocol's uint32
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def check_name(model_folder: Path) -> str:
    """Return the model's name, which is the name of its folder.

    Raise ExportError if it is not a valid one, or the folder holds models, not versions of one.
    """
    name = model_folder.resolve().name
    if models := _models_in(model_folder):
        some = ", ".join(models[:_MOST_NAMED]) + ", …" * (len(models) > _MOST_NAMED)
        raise BadUsageError(
            f"--out {model_folder}: holds models ({some}), where no server finds a version of another. Name the model, "
            f"too: --out {model_folder / models[0]}"
        )
    if not NAME_PATTERN.fullmatch(name):
        raise BadUsageError(
            f"--out {model_folder}: {name!r} cannot be a model's name. Use 1 to 128 lower-case letters, digits, '.', "
            "'_' and '-', starting with a letter or digit"
        )
    return name


@contextlib.contextmanager
def staging_folder(model_folder: Path) -> Iterator[Path]:
    """Make a folder to write a package in: hidden from servers, on the file system where the package will be.

    The folder is removed at the end, unless `publish` has moved it away, and so is a model's folder without versions.
    Raise ExportError if the file system refuses, there or in the block.
    """
    is_new = not model_folder.exists()
    try:
        with writing(model_folder):
            model_folder.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(model_folder)
            staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=model_folder))
            in_use = os.open(staging, os.O_RDONLY)
            try:
                fcntl.flock(in_use, fcntl.LOCK_EX)
                yield staging
            finally:
                os.close(in_use)
                shutil.rmtree(staging, ignore_errors=True)
                if is_new:
                    with contextlib.suppress(OSError):  # It holds a version.
                        model_folder.rmdir()
    except WriteError as error:
        raise ExportError(str(error)) from error


def _remove_abandoned(model_folder: Path) -> None:
    """Remove the staging folders of exports that were killed: nobody holds their lock."""
    for folder in model_folder.glob(f"{_STAGING}*"):
        with contextlib.suppress(OSError):
            # A younger one may not be locked yet.
            if time.time() - folder.stat().st_mtime < _STARTING_S:
                continue
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def publish(staging: Path, model_folder: Path, spec: model_spec_pb2.ModelSpec) -> Path:
    """Complete the manifest, and move the package from its `staging_folder` into place as the next version.

    A reader sees the whole package or none of it. Two exports at once get two versions. Raise ExportError if the file
    system refuses.
    """
    spec.ClearField("files")
    for file in sorted(staging.iterdir()):
        spec.files.add(name=file.name, sha256=file_sha256(file), size_bytes=file.stat().st_size)
    try:
        while True:
            version = max(_versions(model_folder), default=0) + 1
            if version > _MOST_VERSION:
                raise ExportError(
                    f"{model_folder}: has the version {version - 1}, the largest there is. Publish under another name"
                )
            spec.version = version
            write_manifest(staging, spec)
            for path in (*staging.iterdir(), staging):
                sync_to_disk(path)
            target = model_folder / str(version)
            try:
                # The folder's mode is mkdtemp's 0700: a server under another user must be able to read it.
                staging.chmod(0o755)
                staging.rename(target)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                    continue  # another export took this version meanwhile
                raise
            sync_to_disk(model_folder)
            return target
    except OSError as error:
        raise ExportError(f"cannot publish to {model_folder}: {error.strerror}") from error


def package_folder(path: Path) -> Path | None:
    """Return the package at a path: the path itself, or the newest version in a model's folder; None: neither."""
    if (path / MANIFEST).is_file():
        return path
    versions = _versions(path) if path.is_dir() else []
    newest = path / str(max(versions, default=0))
    return newest if (newest / MANIFEST).is_file() else None


def _models_in(folder: Path) -> list[str]:
    """Return the names of the models in a folder; none in the folder of one model."""
    manifests = (path.relative_to(folder).parts for path in folder.glob(f"*/*/{MANIFEST}"))
    return sorted({name for name, version, _ in manifests if _is_version(version) and not name.startswith(".")})


def _is_version(name: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]*", name) is not None


def _versions(model_folder: Path) -> list[int]:
    return [int(path.name) for path in model_folder.iterdir() if _is_version(path.name)]
