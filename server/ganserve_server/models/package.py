"""Reads a model package from disk: the manifest, its consistency, and the digest of every file.

Only files that the manifest lists are read, once, and what was digested is what is used, so a file that changes
afterwards changes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf import json_format

from ganserve.v1 import model_spec_pb2, tensor_pb2
from ganserve_server.draw.latents import Control, Distribution
from ganserve_server.errors import PackageError
from ganserve_server.models.onnx_files import has_weights_elsewhere, opset_of, precision_of
from ganserve_server.requests.validation import enum_name

if TYPE_CHECKING:
    from pathlib import Path

    from ganserve_server.models.onnx_files import Precision

MANIFEST = "manifest.json"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_LABEL_OVERHEAD_BYTES = 11  # tag 1 and length up to 5 of the name, index up to 5
_MAX_MANIFEST_BYTES = 16 * 2**20

_DISTRIBUTIONS = {
    model_spec_pb2.LATENT_DISTRIBUTION_NORMAL: Distribution.NORMAL,
    model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM: Distribution.UNIFORM,
}
_PRECISIONS: dict[Precision, model_spec_pb2.Precision.ValueType] = {
    "float32": model_spec_pb2.PRECISION_FLOAT32,
    "float16": model_spec_pb2.PRECISION_FLOAT16,
    "bfloat16": model_spec_pb2.PRECISION_BFLOAT16,
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """What a request needs to know of a model, ready to use."""

    name: str
    version: int
    sample_shape: tuple[int, ...]
    """[H, W, C] for images, [D] for vectors."""
    sample_dtype: np.dtype[np.generic]
    """Little-endian uint8 or float32."""
    sample_data_type: tensor_pb2.DataType.ValueType
    latent_dimension: int
    """Z."""
    distribution: Distribution
    """Of each latent value that is no control."""
    controls: dict[str, Control]
    """The latent values that a request may set, by name."""
    label_names: tuple[str, ...]
    """In the order of their indices; empty for unconditional models."""
    label_indices: dict[str, int]
    """Index of each label name."""
    critic_takes_labels: bool
    """Whether scores need labels: the model is conditional, and its critic is, too."""
    critic_absence: str
    """Why there is no critic, if there is none and the manifest says so."""
    sample_bytes: int
    """Length of one raw sample in bytes."""
    label_bytes: int
    """Most bytes that the label of one sample takes in a message: index, name and their lengths; 0 if unconditional."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A package that was read and is consistent in itself; its graphs were not looked into yet."""

    folder: Path
    spec: model_spec_pb2.ModelSpec
    info: ModelInfo
    generator: bytes
    """The generator's ONNX file."""
    critic: bytes | None
    """The critic's ONNX file, if the package has one."""


def read_package(folder: Path) -> Package:
    """Read and checks the package in `folder`, which is `<repository>/<name>/<version>`.

    Raises:
        PackageError: The manifest is missing, malformed or contradicts itself or the folder's name, or a file is
            missing or differs from its digest, or a graph keeps weights elsewhere.
    """
    spec = _read_manifest(folder)
    _check_identity(folder, spec)
    info = _model_info(spec)
    contents = _read_files(folder, spec)
    return Package(
        folder=folder,
        spec=spec,
        info=info,
        generator=_graph(spec.generator, "generator", contents),
        critic=_graph(spec.critic, "critic", contents) if spec.HasField("critic") else None,
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
        raise PackageError(f"the manifest names the model {spec.name!r}, its folder is {name!r}: they must be the same")
    if str(spec.version) != version:
        raise PackageError(
            f"the manifest says version {spec.version}, its folder is {version!r}: they must be the same"
        )


def _model_info(spec: model_spec_pb2.ModelSpec) -> ModelInfo:
    sample, shape = spec.sample, tuple(spec.sample.shape)
    if sample.kind == model_spec_pb2.SAMPLE_KIND_IMAGE:
        expected_type, axes = tensor_pb2.DATA_TYPE_UINT8, "[H, W, C] with C from 1 to 4"
        fits = len(shape) == 3 and shape[2] <= 4
    elif sample.kind == model_spec_pb2.SAMPLE_KIND_VECTOR:
        expected_type, axes, fits = tensor_pb2.DATA_TYPE_FLOAT32, "[D]", len(shape) == 1
    else:
        raise PackageError(
            f"sample.kind is {enum_name(model_spec_pb2.SampleKind, sample.kind)}; expected IMAGE or VECTOR"
        )
    if not fits or not all(shape):
        raise PackageError(f"sample.shape is {list(shape)}; expected {axes}, every extent at least 1")
    if sample.data_type != expected_type:
        found, wanted = (enum_name(tensor_pb2.DataType, value) for value in (sample.data_type, expected_type))
        raise PackageError(f"sample.data_type is {found}; expected {wanted} for samples of shape {axes}")
    if spec.latent.dimension < 1:
        raise PackageError("latent.dimension is 0; expected at least 1")
    if spec.latent.distribution not in _DISTRIBUTIONS:
        distribution = enum_name(model_spec_pb2.LatentDistribution, spec.latent.distribution)
        raise PackageError(f"latent.distribution is {distribution}; expected NORMAL or UNIFORM")
    labels = {name: index for index, name in enumerate(spec.label_names)}
    if len(labels) != len(spec.label_names) or "" in labels:
        raise PackageError(f"label_names must be distinct and not empty; got {list(spec.label_names)}")
    _check_calibration(spec)
    sample_dtype = np.dtype("<u1" if expected_type == tensor_pb2.DATA_TYPE_UINT8 else "<f4")
    return ModelInfo(
        name=spec.name,
        version=spec.version,
        sample_shape=shape,
        sample_dtype=sample_dtype,
        sample_data_type=expected_type,
        latent_dimension=spec.latent.dimension,
        distribution=_DISTRIBUTIONS[spec.latent.distribution],
        controls=_controls(spec.latent),
        label_names=tuple(spec.label_names),
        label_indices=labels,
        critic_takes_labels=bool(labels) and not spec.score.label_free,
        critic_absence=spec.critic_absence,
        sample_bytes=math.prod(shape) * sample_dtype.itemsize,
        label_bytes=max((len(name.encode()) + _LABEL_OVERHEAD_BYTES for name in labels), default=0),
    )


def _check_calibration(spec: model_spec_pb2.ModelSpec) -> None:
    if not spec.score.HasField("calibration"):
        return
    calibration = spec.score.calibration
    expected = max(1, len(spec.label_names)) if not spec.score.label_free else 1
    if len(calibration.intercepts) != expected:
        raise PackageError(
            f"score.calibration has {len(calibration.intercepts)} intercepts; expected {expected}: one for each label "
            "that the critic takes, one for all where it takes none"
        )
    if not all(map(math.isfinite, (calibration.slope, *calibration.intercepts))):
        raise PackageError("score.calibration has numbers that are not finite: export again")


def _controls(latent: model_spec_pb2.LatentSpec) -> dict[str, Control]:
    controls: dict[str, Control] = {}
    for control in latent.controls:
        where = f"latent.controls has {control.name!r}"
        if not _CONTROL_NAME.fullmatch(control.name):
            raise PackageError(
                f"{where}; a control's name is a letter or underscore, then at most 63 letters, digits, '_', '.' or '-'"
            )
        if control.name in controls or any(control.index == other.index for other in controls.values()):
            raise PackageError(f"{where} with index {control.index}; names and indices must be distinct")
        if control.index >= latent.dimension:
            raise PackageError(f"{where} with index {control.index}; expected 0 to {latent.dimension - 1}")
        if not (math.isfinite(control.low) and math.isfinite(control.high) and control.low < control.high):
            raise PackageError(f"{where} with the range {control.low:g} to {control.high:g}; expected low below high")
        controls[control.name] = Control(control.name, control.index, control.low, control.high)
    return controls


def _read_files(folder: Path, spec: model_spec_pb2.ModelSpec) -> dict[str, bytes]:
    """Return the content of every file that the manifest lists, after comparing sizes and digests."""
    contents: dict[str, bytes] = {}
    for file in spec.files:
        if not is_plain_file_name(file.name):
            raise PackageError(f"files names {file.name!r}; a package's files lie in its own folder, without a path")
        if file.name in contents:
            raise PackageError(f"files names {file.name!r} twice")
        if not _SHA256.fullmatch(file.sha256):
            raise PackageError(
                f"{file.name}: the manifest's sha256 {file.sha256!r} is not 64 lower-case hexadecimal digits"
            )
        path = folder / file.name
        try:
            _check_own_file(path, folder)
            content = path.read_bytes()
        except FileNotFoundError:
            raise PackageError(f"{file.name} is missing: the manifest lists it") from None
        except OSError as error:
            raise PackageError(f"{file.name} cannot be read: {error}") from error
        if len(content) != file.size_bytes:
            raise PackageError(
                f"{file.name} has {len(content)} bytes, the manifest says {file.size_bytes}: copy it again"
            )
        digest = hashlib.sha256(content).hexdigest()
        if digest != file.sha256:
            raise PackageError(f"{file.name} has the SHA-256 {digest}, the manifest says {file.sha256}: copy it again")
        contents[file.name] = content
    return contents


def _check_own_file(path: Path, folder: Path) -> None:
    """Raise PackageError for a link that leads outside the package, and for what is no file (reading a pipe waits)."""
    if path.resolve(strict=True).parent != folder.resolve():
        raise PackageError(f"{path.name} is a link to {path.resolve()}, outside the package: copy the file")
    if not path.is_file():
        raise PackageError(f"{path.name} cannot be read: it is no file")


def is_plain_file_name(name: str) -> bool:
    """Tells whether `name` is a file name without a folder, on any system."""
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
    if precision is not None and graph.precision != _PRECISIONS[precision]:
        raise PackageError(
            f"{role}.precision is {enum_name(model_spec_pb2.Precision, graph.precision)}, and most weights of "
            f"{graph.file} are {precision}: export again"
        )
    return content
