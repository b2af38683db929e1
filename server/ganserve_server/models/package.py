"""Read a model package from disk, and check its manifest and the digest of every file.

Only files in the manifest are read, and each is read once: the bytes that match the digest are the bytes in use, even
if the file changes later.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format

from ganserve.v1 import model_spec_pb2
from ganserve_server.engine.onnx_files import has_weights_elsewhere, opset_of, precision_of
from ganserve_server.error_text import enum_name
from ganserve_server.errors import PackageError
from ganserve_server.models.model_info import ModelInfo, read_model_info

MANIFEST = "manifest.json"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_MANIFEST_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A package with valid manifest and digests; its graphs are not loaded yet."""

    folder: Path
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

    Raises PackageError if the manifest is missing, malformed, or contradicts itself or the folder's name; if a file is
    missing or differs from its digest; or if a graph keeps weights in other files.
    """
    spec = _read_manifest(folder)
    _check_identity(folder, spec)
    info = read_model_info(spec)
    contents = _read_files(folder, spec)
    return Package(
        folder=folder,
        spec=spec,
        info=info,
        generator=_graph(spec.generator, "generator", contents),
        critic=_graph(spec.critic, "critic", contents) if spec.HasField("critic") else None,
        typicality=_graph(spec.typicality.graph, "typicality.graph", contents) if spec.HasField("typicality") else None,
    )


def _read_manifest(folder: Path) -> model_spec_pb2.ModelSpec:
    path = folder / MANIFEST
    try:
        _check_own_file(path, folder)
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise PackageError(f"{MANIFEST} has {path.stat().st_size} bytes; at most {_MAX_MANIFEST_BYTES} are read")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PackageError(f"{MANIFEST} is missing: write packages with `ganserve export-onnx`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{MANIFEST} cannot be read: {error}") from error
    try:
        return json_format.Parse(text, model_spec_pb2.ModelSpec())
    except json_format.ParseError as error:
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


def _read_files(folder: Path, spec: model_spec_pb2.ModelSpec) -> dict[str, bytes]:
    """Return the content of every file in the manifest, after checking sizes and digests."""
    contents: dict[str, bytes] = {}
    for file in spec.files:
        if not is_plain_file_name(file.name):
            raise PackageError(f"files names {file.name!r}; a package's files lie in its own folder, without a path")
        if file.name in contents:
            raise PackageError(f"files names {file.name!r} twice")
        if not _SHA256.fullmatch(file.sha256):
            raise PackageError(f"{file.name}: sha256 {file.sha256!r} is not 64 lower-case hexadecimal digits")
        path = folder / file.name
        try:
            _check_own_file(path, folder)
            content = path.read_bytes()
        except FileNotFoundError:
            raise PackageError(f"{file.name} is missing: the manifest lists it") from None
        except OSError as error:
            raise PackageError(f"{file.name} cannot be read: {error}") from error
        if len(content) != file.size_bytes:
            size = len(content)
            raise PackageError(f"{file.name} has {size} bytes, the manifest says {file.size_bytes}: copy it again")
        digest = hashlib.sha256(content).hexdigest()
        if digest != file.sha256:
            raise PackageError(f"{file.name} has the SHA-256 {digest}, the manifest says {file.sha256}: copy it again")
        contents[file.name] = content
    return contents


def _check_own_file(path: Path, folder: Path) -> None:
    """Refuse links that lead outside the package, and anything but regular files: reading a pipe would block."""
    if path.resolve(strict=True).parent != folder.resolve():
        raise PackageError(f"{path.name} is a link to {path.resolve()}, outside the package: copy the file")
    if not path.is_file():
        raise PackageError(f"{path.name} cannot be read: it is not a regular file")


def is_plain_file_name(name: str) -> bool:
    """Return True if `name` is a file name without a folder, on any system."""
    return name not in {"", ".", ".."} and not any(character in name for character in "/\\\0:")


def _graph(graph: model_spec_pb2.GraphSpec, role: str, contents: dict[str, bytes]) -> bytes:
    if graph.file not in contents:
        raise PackageError(f"{role}.file is {graph.file!r}, which is not among the manifest's files {sorted(contents)}")
    content = contents[graph.file]
    if has_weights_elsewhere(content):
        raise PackageError(
            f"{graph.file} keeps weights in other files, which are never read: save it whole, without "
            "save_as_external_data, and export again"
        )
    opset, precision = opset_of(content), precision_of(content)
    if opset is not None and opset != graph.opset:
        raise PackageError(f"{role}.opset is {graph.opset}, and {graph.file} has opset {opset}: export again")
    if precision is not None and graph.precision != model_spec_pb2.Precision.Value(f"PRECISION_{precision.upper()}"):
        raise PackageError(
            f"{role}.precision is {enum_name(model_spec_pb2.Precision, graph.precision)}, and most weights of "
            f"{graph.file} are {precision}: export again"
        )
    return content
