"""Writes model packages: all files in a hidden folder first, which is then renamed into place as the next version."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import json_format

from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFEST = "manifest.json"
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def check_name(model_folder: Path) -> str:
    """Return the model's name, which is its folder's.

    Raises:
        ExportError: The folder's name cannot be a model's.
    """
    name = model_folder.resolve().name
    if not NAME_PATTERN.fullmatch(name):
        raise ExportError(
            f"{name!r} cannot be a model's name (the last part of --out {model_folder}): use 1 to 128 lower-case "
            "letters, digits, '.', '_' and '-', starting with a letter or digit"
        )
    return name


@contextlib.contextmanager
def staging_folder(model_folder: Path) -> Iterator[Path]:
    """A folder to write a package in: hidden, so that no server reads it, and on the same file system as its place.

    It is removed at the end, unless `publish` has moved it away.
    """
    try:
        model_folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".export-", dir=model_folder))
    except OSError as error:
        raise ExportError(f"cannot write to {model_folder}: {error.strerror}") from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def digest(file: Path) -> str:
    """SHA-256 of a file's content, in lower-case hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def publish(staging: Path, model_folder: Path, spec: model_spec_pb2.ModelSpec) -> Path:
    """Completes the manifest and moves the package into place, as the next version.

    A reader sees the whole package or none of it. Two exports at once get two versions.

    Args:
        staging: The folder that holds the package's files, made by `staging_folder`.
        model_folder: Where the model's versions lie.
        spec: The manifest; its version and files are filled in here.

    Returns:
        The folder of the published version.

    Raises:
        ExportError: The file system refuses.
    """
    spec.ClearField("files")
    for file in sorted(staging.iterdir()):
        spec.files.add(name=file.name, sha256=digest(file), size_bytes=file.stat().st_size)
    try:
        while True:
            version = max(_versions(model_folder), default=0) + 1
            spec.version = version
            text = json_format.MessageToJson(
                spec, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            (staging / MANIFEST).write_text(text + "\n", encoding="utf-8")
            _sync(staging)
            target = model_folder / str(version)
            try:
                # The folder's mode is mkdtemp's 0700: a server under another user must be able to read it.
                staging.chmod(0o755)
                staging.rename(target)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                    continue  # another export took this version meanwhile
                raise
            _sync_folder(model_folder)
            return target
    except OSError as error:
        raise ExportError(f"cannot publish to {model_folder}: {error.strerror}") from error


def package_folder(path: Path) -> Path | None:
    """The package at a path: the path itself, or the newest version if it is a model's folder; None: neither."""
    if (path / MANIFEST).is_file():
        return path
    versions = _versions(path) if path.is_dir() else []
    newest = path / str(max(versions, default=0))
    return newest if (newest / MANIFEST).is_file() else None


def _versions(model_folder: Path) -> list[int]:
    return [int(path.name) for path in model_folder.iterdir() if re.fullmatch(r"[1-9][0-9]*", path.name)]


def _sync(folder: Path) -> None:
    """Make sure that the files are on the disk before their folder gets its name."""
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
