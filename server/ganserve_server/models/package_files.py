"""Read a model package from disk, and check its manifest and the digest of every file.

Only files in the manifest are read, each once and by its size first: the bytes that match the digest are the bytes in
use, even if the file changes later. What the graphs contain is checked by `graph_files` and by a trial.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from google.protobuf import json_format

from ganserve.v1 import model_spec_pb2
from ganserve_server.error_text import shown
from ganserve_server.errors import PackageError
from ganserve_server.models.manifest_checks import ModelInfo, read_model_info

MANIFEST = "manifest.json"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
MAX_FILE_BYTES = 2**31 - 1
"""Most bytes of one file: protobuf, and so onnxruntime, reads no larger ONNX file."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_MANIFEST_BYTES = 4 * 2**20
_MAX_FILES = 64
_PIECE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A package with valid manifest and digests; its graphs are not loaded yet."""

    digest: str
    """SHA-256 of the manifest, which holds those of all files: packages with the same one are the same."""
    spec: model_spec_pb2.ModelSpec
    info: ModelInfo
    generator: bytes
    """The generator's ONNX file."""
    critic: bytes | None
    """The critic's ONNX file, if the package has one."""
    typicality: bytes | None
    """The typicality's ONNX file, if the package has one."""


def read_package(folder: Path) -> Package:
    """Read and check the package in `folder`, which is `<repository>/<name>/<version>`.

    Links are followed inside the repository, as Kubernetes and model hubs make them.

    Raises PackageError if the manifest is missing, malformed, or contradicts itself or the folder's name; if a file is
    missing, differs from its digest, or lies outside the repository.
    """
    reader = _Reader(folder)
    manifest = reader.manifest()
    spec = _parsed(manifest)
    _check_identity(folder, spec)
    info = read_model_info(spec)
    graphs = {"generator": spec.generator}
    if spec.HasField("critic"):
        graphs["critic"] = spec.critic
    if spec.HasField("typicality"):
        graphs["typicality.graph"] = spec.typicality.graph
    listed = _listed_files(spec)
    for role, graph in graphs.items():
        if graph.file not in listed:
            raise PackageError(f"{role}.file is {graph.file!r}, which is not among the manifest's files")
    wanted = {graph.file for graph in graphs.values()}
    contents = {name: reader.content(file, keep=name in wanted) for name, file in listed.items()}
    return Package(
        digest=hashlib.sha256(manifest).hexdigest(),
        spec=spec,
        info=info,
        generator=contents[spec.generator.file],
        critic=contents[spec.critic.file] if spec.HasField("critic") else None,
        typicality=contents[spec.typicality.graph.file] if spec.HasField("typicality") else None,
    )


def manifest_digest(folder: Path) -> str:
    """Return `Package.digest` of a package without reading its files; raise PackageError if that is impossible."""
    return hashlib.sha256(_Reader(folder).manifest()).hexdigest()


def _parsed(manifest: bytes) -> model_spec_pb2.ModelSpec:
    try:
        return json_format.Parse(manifest.decode("utf-8"), model_spec_pb2.ModelSpec())
    except UnicodeDecodeError as error:
        raise PackageError(f"{MANIFEST} cannot be read: {error}") from error
    except (json_format.ParseError, RecursionError) as error:
        raise PackageError(f"{MANIFEST} is not the JSON of a ganserve.v1.ModelSpec: {error}") from error


def _check_identity(folder: Path, spec: model_spec_pb2.ModelSpec) -> None:
    name, version = folder.parent.name, folder.name
    if not MODEL_NAME.fullmatch(name):
        raise PackageError(
            f"the model's folder is named {name!r}; a model's name has 1 to 128 characters of a-z 0-9 . _ - "
            "and begins with a letter or digit: rename the folder and export again"
        )
    if spec.name != name:
        raise PackageError(f"the manifest names the model {spec.name!r}, its folder is {name!r}: make them the same")
    if str(spec.version) != version:
        raise PackageError(f"the manifest says version {spec.version}, its folder is {version!r}: make them the same")


def _listed_files(spec: model_spec_pb2.ModelSpec) -> dict[str, model_spec_pb2.PackageFile]:
    """Return the manifest's files by name, after checking what it says about them."""
    if len(spec.files) > _MAX_FILES:
        raise PackageError(f"files has {len(spec.files)} entries; at most {_MAX_FILES} are read")
    listed: dict[str, model_spec_pb2.PackageFile] = {}
    for file in spec.files:
        if not is_plain_file_name(file.name):
            raise PackageError(f"files names {file.name!r}; a package's files lie in its own folder, without a path")
        if file.name in listed:
            raise PackageError(f"files names {file.name!r} twice")
        if not _SHA256.fullmatch(file.sha256):
            raise PackageError(f"{file.name}: sha256 {shown(file.sha256)} is not 64 lower-case hexadecimal digits")
        if file.size_bytes > MAX_FILE_BYTES:
            raise PackageError(f"{file.name} has {file.size_bytes} bytes; at most {MAX_FILE_BYTES} are read")
        listed[file.name] = file
    return listed


def is_plain_file_name(name: str) -> bool:
    """Return True if `name` is a file name without a folder, on any system."""
    return name not in {"", ".", ".."} and not any(character in name for character in "/\\\0:")


class _Reader:
    """Reads the files of a package, none of them beyond its expected size."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._repository = Path(os.path.realpath(folder.parent.parent))

    def manifest(self) -> bytes:
        try:
            with self._open(MANIFEST) as file:
                size = os.fstat(file.fileno()).st_size
                if size > _MAX_MANIFEST_BYTES:
                    raise PackageError(f"{MANIFEST} has {size} bytes; at most {_MAX_MANIFEST_BYTES} are read")
                return b"".join(_pieces(file, size))
        except FileNotFoundError:
            raise PackageError(f"{MANIFEST} is missing: write packages with `ganserve export-onnx`") from None
        except OSError as error:
            raise PackageError(f"{MANIFEST} cannot be read: {error.strerror or error}") from error

    def content(self, listed: model_spec_pb2.PackageFile, *, keep: bool) -> bytes:
        """Check a file's size and digest, and return its content, or nothing unless `keep`."""
        name, digest, pieces = listed.name, hashlib.sha256(), []
        try:
            with self._open(name) as file:
                size = os.fstat(file.fileno()).st_size
                if size == listed.size_bytes:  # before the content: a wrong file may have any size
                    for piece in _pieces(file, size):
                        digest.update(piece)
                        if keep:
                            pieces.append(piece)
        except FileNotFoundError:
            raise PackageError(f"{name} is missing: the manifest lists it") from None
        except OSError as error:
            raise PackageError(f"{name} cannot be read: {error.strerror or error}") from error
        if size != listed.size_bytes:
            raise PackageError(f"{name} has {size} bytes, the manifest says {listed.size_bytes}: copy it again")
        if digest.hexdigest() != listed.sha256:
            raise PackageError(
                f"{name} has the SHA-256 {digest.hexdigest()}, the manifest says {listed.sha256}: copy it again"
            )
        return b"".join(pieces)

    def _open(self, name: str) -> FileIO:
        """Open a file after following links, unless it leaves the repository or is not a regular file."""
        path = self._folder / name
        real = Path(os.path.realpath(path, strict=True))  # `Path.resolve` raises RuntimeError for circular links
        if not real.is_relative_to(self._repository):
            raise PackageError(f"{name} is {real}, outside the repository {self._repository}: copy the file into it")
        # Opening a pipe for reading would block.
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise PackageError(f"{name} cannot be read: it is not a regular file")
        return FileIO(descriptor)


def _pieces(file: FileIO, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file."""
    while size > 0 and (piece := file.read(min(size, _PIECE_BYTES))):
        size -= len(piece)
        yield piece
