"""Publish packages: collect the files in a hidden folder, then rename it into place as the model's next version."""

import contextlib
import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import BadUsageError, ExportError
from ganserve_export.package.manifest import MANIFEST, write_manifest
from ganserve_training.errors import WriteError
from ganserve_training.files import file_sha256, sync_to_disk, writing

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def check_name(model_folder: Path) -> str:
    """Return the model's name, which is the name of its folder; raise ExportError if it is not a valid one."""
    name = model_folder.resolve().name
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
            staging = Path(tempfile.mkdtemp(prefix=".export-", dir=model_folder))
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
                if is_new:
                    with contextlib.suppress(OSError):  # It holds a version.
                        model_folder.rmdir()
    except WriteError as error:
        raise ExportError(str(error)) from error


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


def _versions(model_folder: Path) -> list[int]:
    return [int(path.name) for path in model_folder.iterdir() if re.fullmatch(r"[1-9][0-9]*", path.name)]
