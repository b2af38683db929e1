"""Build valid model packages for tests in milliseconds, with arithmetic instead of networks.

N = samples, Z = latent values, P = values of one sample (H * W * C or D), K = labels.
"""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from ganserve._errors import InvalidRequest
from ganserve.testing import _onnx
from ganserve.v1 import model_spec_pb2, tensor_pb2

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_SLOPE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyModel:
    """An untrained model for tests: samples depend on latent and label, and the critic tells labels apart.

    Raises:
        InvalidRequest: A value is wrong.
    """

    name: str = "digits"
    """The model's name."""
    version: int = 1
    """The model's version, at least 1."""
    shape: tuple[int, ...] = (8, 8, 1)
    """Shape of one sample: (H, W, C) for images with 1 or 3 channels, (D,) for vectors."""
    label_names: tuple[str, ...] = tuple("0123456789")
    """Names of the labels, in the order of their indices; empty: an unconditional model."""
    latent_dimension: int = 4
    """Z, the number of values in one latent."""
    critic: bool = True
    """True if it can score."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidRequest.of(
                "name", f"is {self.name!r}; expected small letters, digits, dots, dashes, such as x-1"
            )
        if self.version < 1:
            raise InvalidRequest.of("version", f"is {self.version}; expected at least 1")
        images = len(self.shape) == 3 and self.shape[2] in (1, 3)
        if not (images or len(self.shape) == 1) or min(self.shape) < 1:
            raise InvalidRequest.of("shape", f"is {self.shape}; expected (H, W, 1), (H, W, 3) or (D,)")
        if self.latent_dimension < 1:
            raise InvalidRequest.of("latent_dimension", f"is {self.latent_dimension}; expected at least 1")
        if len(set(self.label_names)) < len(self.label_names) or "" in self.label_names:
            raise InvalidRequest.of("label_names", f"are {self.label_names}; expected names that differ")

    @property
    def is_image(self) -> bool:
        """True if its samples are images, uint8; otherwise vectors, float32."""
        return len(self.shape) == 3


Models: TypeAlias = str | os.PathLike[str] | Sequence[TinyModel]
"""A folder of model packages, or tiny models."""


def build_package(models: str | os.PathLike[str], model: TinyModel | None = None) -> Path:
    """Write a model package in milliseconds, without PyTorch or onnx.

    Args:
        models: The folder of model packages, made if missing.
        model: The model. Default: images uint8 [8, 8, 1] of the labels "0" to "9", called "digits".

    Returns:
        The package's folder, MODELS/NAME/VERSION.

    Raises:
        FileExistsError: The package exists.
    """
    model = TinyModel() if model is None else model
    folder = Path(models) / model.name / str(model.version)
    folder.mkdir(parents=True)
    files = {"generator.onnx": _generator(model)}
    if model.critic:
        files["critic.onnx"] = _critic(model)
    for name, content in files.items():
        folder.joinpath(name).write_bytes(content)
    spec = _spec(model)
    for name, content in sorted(files.items()):
        spec.files.add(name=name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    text = json_format.MessageToJson(spec, preserving_proto_field_name=True)
    folder.joinpath("manifest.json").write_text(text, encoding="utf-8")
    return folder


def folder_of(models: Models, new: Path) -> Path:
    """Return the folder of the model packages: the given one, or `new`, to which it writes those of tiny models."""
    if isinstance(models, str | os.PathLike):
        return Path(models)
    for model in models or (TinyModel(),):
        build_package(new, model)
    return new


def _generator(model: TinyModel) -> bytes:
    """Map latents f32 [N, Z], labels i64 [N] (conditional only) to samples: a latent's values plus a label's wave."""
    size, labels = math.prod(model.shape), max(1, len(model.label_names))
    positions = np.arange(size, dtype=np.float32) / size
    shifts = np.sin(2 * np.pi * positions * (1 + np.arange(labels, dtype=np.float32))[:, None])  # [K, P]
    constants: dict[str, NDArray[Any]] = {
        "columns": np.arange(size, dtype=np.int64) % model.latent_dimension,
        "gain": np.float32(0.25) * np.ones(size, np.float32),
        "shifts": (shifts if model.label_names else shifts[0]).astype(np.float32) / 2,
        "sample_shape": np.array([-1, *model.shape], np.int64),
    }
    nodes = [
        _onnx.node("Gather", ["latents", "columns"], ["tiled"], axis=1),
        _onnx.node("Mul", ["tiled", "gain"], ["scaled"]),
    ]
    if model.label_names:
        nodes.append(_onnx.node("Gather", ["shifts", "labels"], ["shift"], axis=0))
    nodes.append(_onnx.node("Add", ["scaled", "shift" if model.label_names else "shifts"], ["values"]))
    if model.is_image:
        levels = {"one": 1.0, "half_range": 127.5, "lowest": 0.0, "highest": 255.0}
        constants |= {name: np.array(value, np.float32) for name, value in levels.items()}
        nodes += [
            _onnx.node("Add", ["values", "one"], ["positive"]),
            _onnx.node("Mul", ["positive", "half_range"], ["levels"]),
            _onnx.node("Round", ["levels"], ["rounded"]),
            _onnx.node("Clip", ["rounded", "lowest", "highest"], ["clipped"]),
            _onnx.node("Cast", ["clipped"], ["flat"], to=_onnx.UINT8),
        ]
    nodes.append(_onnx.node("Reshape", ["flat" if model.is_image else "values", "sample_shape"], ["samples"]))
    inputs = [_onnx.tensor_type("latents", _onnx.FLOAT, ["N", model.latent_dimension]), *_labels(model)]
    return _onnx.model("generator", nodes, inputs, [_samples(model)], constants)


def _critic(model: TinyModel) -> bytes:
    """Map samples and labels i64 [N] (conditional only) to scores f32 [N] and probabilities f32 [N]."""
    constants: dict[str, NDArray[Any]] = {
        "flat_shape": np.array([-1, math.prod(model.shape)], np.int64),
        "axes": np.array([1], np.int64),
        "scale": np.array(2**-7 if model.is_image else 1, np.float32),
        "slope": np.array(_SLOPE, np.float32),
    }
    nodes = [
        _onnx.node("Cast", ["samples"], ["numbers"], to=_onnx.FLOAT),
        _onnx.node("Reshape", ["numbers", "flat_shape"], ["flat"]),
        _onnx.node("ReduceMean", ["flat", "axes"], ["means"], keepdims=0),
        _onnx.node("Mul", ["means", "scale"], ["scaled" if model.label_names else "scores"]),
    ]
    if model.label_names:
        constants["per_label"] = np.array(0.125, np.float32)
        nodes += [
            _onnx.node("Cast", ["labels"], ["label_numbers"], to=_onnx.FLOAT),
            _onnx.node("Mul", ["label_numbers", "per_label"], ["bonus"]),
            _onnx.node("Add", ["scaled", "bonus"], ["scores"]),
        ]
    nodes += [
        _onnx.node("Mul", ["scores", "slope"], ["logits"]),
        _onnx.node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    outputs = [_onnx.tensor_type(name, _onnx.FLOAT, ["N"]) for name in ("scores", "probabilities")]
    return _onnx.model("critic", nodes, [_samples(model), *_labels(model)], outputs, constants)


def _labels(model: TinyModel) -> list[bytes]:
    return [_onnx.tensor_type("labels", _onnx.INT64, ["N"])] if model.label_names else []


def _samples(model: TinyModel) -> bytes:
    return _onnx.tensor_type("samples", _onnx.UINT8 if model.is_image else _onnx.FLOAT, ["N", *model.shape])


def _spec(model: TinyModel) -> model_spec_pb2.ModelSpec:
    from importlib.metadata import version

    spec = model_spec_pb2.ModelSpec(
        name=model.name,
        version=model.version,
        sample=model_spec_pb2.SampleSpec(
            kind=model_spec_pb2.SAMPLE_KIND_IMAGE if model.is_image else model_spec_pb2.SAMPLE_KIND_VECTOR,
            data_type=tensor_pb2.DATA_TYPE_UINT8 if model.is_image else tensor_pb2.DATA_TYPE_FLOAT32,
            shape=model.shape,
        ),
        latent=model_spec_pb2.LatentSpec(
            dimension=model.latent_dimension, distribution=model_spec_pb2.LATENT_DISTRIBUTION_NORMAL
        ),
        label_names=model.label_names,
        generator=_graph("generator.onnx"),
    )
    if model.critic:
        spec.critic.CopyFrom(_graph("critic.onnx"))
        spec.score.loss = "none"
        calibration = spec.score.calibration
        calibration.slope = _SLOPE
        calibration.intercepts.extend([0.0] * max(1, len(model.label_names)))
        calibration.real_count = calibration.generated_count = 1
        calibration.log_loss = math.log(2)
    else:
        spec.critic_absence = "the test asked for a model without one"
    spec.provenance.ganserve_version = version("ganserve")
    spec.provenance.created.FromDatetime(datetime.now(UTC))
    return spec


def _graph(file: str) -> model_spec_pb2.GraphSpec:
    verification = model_spec_pb2.Verification(batch_sizes=[1], max_abs_difference=0.0, tolerance=1.0)
    return model_spec_pb2.GraphSpec(
        file=file, opset=_onnx.OPSET, precision=model_spec_pb2.PRECISION_FLOAT32, verification=verification
    )
