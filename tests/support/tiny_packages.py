"""Build valid model packages in milliseconds, whose numbers a test can compute.

The graphs use only operations that numpy computes exactly alike (products with powers of two, sums of integers), so
that a test compares with `==`. N = batch, Z = latent values, P = values of one sample (H * W * C or D), K = labels.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf import json_format
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from ganserve.v1 import model_spec_pb2, tensor_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

OPSET = 20
SCORE_SLOPE = 0.5


@dataclass(frozen=True, kw_only=True)
class TinyModel:
    """Define a tiny package, as ONNX and as numpy.

    A generator's value p is `gain[p] * latents[p % Z] + shift[label, p]`, for images mapped from [-1, 1] to 0..255. A
    critic's score is `sum(weight[p] * sample[p]) / 1024 + label / 4`.
    """

    shape: tuple[int, ...] = (8, 8, 1)
    label_names: tuple[str, ...] = ("zero", "one", "two")
    latent_dimension: int = 4
    distribution: model_spec_pb2.LatentDistribution = model_spec_pb2.LATENT_DISTRIBUTION_NORMAL
    controls: tuple[str, ...] = ()
    """Names of the last latent values, which requests may set from -1 to 1 (controls)."""
    label_free: bool = False
    """True if the critic takes no labels, even if the generator does."""

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def size(self) -> int:
        """Number of values of one sample, P."""
        return int(np.prod(self.shape))

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype(np.uint8 if self.is_image else np.float32)

    @property
    def gain(self) -> NDArray[np.float32]:
        """Powers of two, [P]."""
        return np.float32(2.0) ** -(np.arange(self.size) // self.latent_dimension % 4 + 1).astype(np.float32)

    @property
    def shift(self) -> NDArray[np.float32]:
        """Eighths, [K, P]."""
        labels, values = np.arange(max(1, len(self.label_names))), np.arange(self.size)
        return ((labels[:, None] * 5 + values) % 8 / 8 - 0.5).astype(np.float32)

    @property
    def weight(self) -> NDArray[np.float32]:
        """Small integers, [P]."""
        return (np.arange(self.size) % 3 + 1).astype(np.float32)

    def samples(self, latents: NDArray[np.float32], labels: NDArray[np.int64] | None = None) -> NDArray[np.generic]:
        """Return the generator's samples for latents [N, Z] and labels [N]: [N, *shape]."""
        labels = np.zeros(len(latents), np.int64) if labels is None else labels
        values = latents[:, np.arange(self.size) % self.latent_dimension] * self.gain + self.shift[labels]
        if self.is_image:
            values = np.clip(np.rint((values + np.float32(1)) * np.float32(127.5)), 0, 255)
        return values.astype(self.dtype).reshape(-1, *self.shape)

    def scores(self, samples: NDArray[np.generic], labels: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the critic's scores [N] of samples [N, *shape] and labels [N]."""
        labels = np.zeros(len(samples), np.int64) if labels is None or self.label_free else labels
        sums = (samples.reshape(-1, self.size).astype(np.float32) * self.weight).sum(1, dtype=np.float32)
        return sums * np.float32(2**-10) + labels.astype(np.float32) * np.float32(0.25)

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities [N] of scores [N], exact to about 1e-6."""
        return (1 / (1 + np.exp(-SCORE_SLOPE * scores.astype(np.float64)))).astype(np.float32)


CONDITIONAL = TinyModel()
UNCONDITIONAL = TinyModel(label_names=())
RGB = TinyModel(shape=(16, 12, 3), label_names=("red", "green"), latent_dimension=6)
VECTOR = TinyModel(
    shape=(2,), label_names=(), latent_dimension=2, distribution=model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM
)
# Like InfoGAN: a discrete code served as labels, a continuous one as a control, and an unconditional critic.
CODES = TinyModel(label_names=("code-0", "code-1"), latent_dimension=3, controls=("c0",), label_free=True)


def build_tiny_package(
    models_dir: Path,
    name: str = "tiny",
    version: int = 1,
    *,
    model: TinyModel = CONDITIONAL,
    critic: bool = True,
    typicality: bool = False,
) -> Path:
    """Write a package to `models_dir/name/version` and return that folder."""
    graphs = {"generator.onnx": generator_graph(model)}
    if critic:
        graphs["critic.onnx"] = critic_graph(model)
    if typicality:
        graphs["typicality.onnx"] = typicality_graph(model)
    return write_package(models_dir, name, version, model=model, graphs=graphs)


def build_tiny_repository(models_dir: Path) -> Path:
    """Write the repository of the `repository` fixture into `models_dir` and return it.

    `tiny` (versions 1 and 2, the same), `tiny-codes`, `tiny-unconditional`, `tiny-rgb`, `tiny-vector`, and
    `tiny-uncritical`, which has no critic.
    """
    build_tiny_package(models_dir, "tiny", 1)
    build_tiny_package(models_dir, "tiny", 2)
    build_tiny_package(models_dir, "tiny-codes", model=CODES)
    build_tiny_package(models_dir, "tiny-unconditional", model=UNCONDITIONAL)
    build_tiny_package(models_dir, "tiny-rgb", model=RGB)
    build_tiny_package(models_dir, "tiny-vector", model=VECTOR)
    build_tiny_package(models_dir, "tiny-uncritical", critic=False)
    return models_dir


def generator_graph(model: TinyModel) -> onnx.ModelProto:
    """Return the graph: latents f32 [N, Z], labels i64 [N] (conditional only) -> samples [N, *shape]."""
    constants = {
        "columns": np.arange(model.size, dtype=np.int64) % model.latent_dimension,
        "gain": model.gain,
        "shift": model.shift if model.label_names else model.shift[0],
        "sample_shape": np.array([-1, *model.shape], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["latents", "columns"], ["tiled"], axis=1),
        helper.make_node("Mul", ["tiled", "gain"], ["scaled"]),
    ]
    if model.label_names:
        nodes.append(helper.make_node("Gather", ["shift", "labels"], ["shifts"], axis=0))
    nodes.append(helper.make_node("Add", ["scaled", "shifts" if model.label_names else "shift"], ["values"]))
    if model.is_image:
        constants |= {name: np.array(value, np.float32) for name, value in LEVELS.items()}
        nodes += [
            helper.make_node("Add", ["values", "one"], ["positive"]),
            helper.make_node("Mul", ["positive", "half_range"], ["levels"]),
            helper.make_node("Round", ["levels"], ["rounded"]),
            helper.make_node("Clip", ["rounded", "lowest", "highest"], ["clipped"]),
            helper.make_node("Cast", ["clipped"], ["flat"], to=TensorProto.UINT8),
        ]
    nodes.append(helper.make_node("Reshape", ["flat" if model.is_image else "values", "sample_shape"], ["samples"]))
    inputs = [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", model.latent_dimension])]
    return tiny_model("generator", nodes, inputs + _labels_input(model), [_samples_info(model)], constants)


LEVELS = {"one": 1.0, "half_range": 127.5, "lowest": 0.0, "highest": 255.0}


def critic_graph(model: TinyModel) -> onnx.ModelProto:
    """Return the graph: samples [N, *shape], labels i64 [N] (conditional only) -> scores, probabilities f32 [N]."""
    takes_labels = bool(model.label_names) and not model.label_free
    constants = {
        "flat_shape": np.array([-1, model.size], np.int64),
        "weight": model.weight,
        "axes": np.array([1], np.int64),
        "scale": np.array(2**-10, np.float32),
        "slope": np.array(SCORE_SLOPE, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["samples"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "flat_shape"], ["flat"]),
        helper.make_node("Mul", ["flat", "weight"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["sums"], keepdims=0),
        helper.make_node("Mul", ["sums", "scale"], ["scaled" if takes_labels else "scores"]),
    ]
    if takes_labels:
        constants["per_label"] = np.array(0.25, np.float32)
        nodes += [
            helper.make_node("Cast", ["labels"], ["label_numbers"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["label_numbers", "per_label"], ["bonus"]),
            helper.make_node("Add", ["scaled", "bonus"], ["scores"]),
        ]
    nodes += [
        helper.make_node("Mul", ["scores", "slope"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("scores", "probabilities")]
    labels = _labels_input(model) if takes_labels else []
    return tiny_model("critic", nodes, [_samples_info(model), *labels], outputs, constants)


def typicality_graph(model: TinyModel, scale: float = 1.0) -> onnx.ModelProto:
    """Return the graph: images [N, *shape] -> typicality f32 [N], from 0 for white to `scale` for black."""
    constants = {
        "flat_shape": np.array([-1, model.size], np.int64),
        "axes": np.array([1], np.int64),
        "white": np.array(255, np.float32),
        "scale": np.array(scale / 255, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["samples"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "flat_shape"], ["flat"]),
        helper.make_node("ReduceMean", ["flat", "axes"], ["means"], keepdims=0),
        helper.make_node("Sub", ["white", "means"], ["darkness"]),
        helper.make_node("Mul", ["darkness", "scale"], ["typicality"]),
    ]
    outputs = [helper.make_tensor_value_info("typicality", TensorProto.FLOAT, ["N"])]
    return tiny_model("typicality", nodes, [_samples_info(model)], outputs, constants)


def write_package(
    models_dir: Path, name: str, version: int, *, model: TinyModel, graphs: Mapping[str, onnx.ModelProto]
) -> Path:
    """Write graphs, preview and manifest to `models_dir/name/version` and return that folder."""
    folder = models_dir / name / str(version)
    folder.mkdir(parents=True)
    for file, graph in graphs.items():
        folder.joinpath(file).write_bytes(graph.SerializeToString(deterministic=True))
    if model.is_image:
        folder.joinpath("preview.png").write_bytes(_preview_png(model))
    spec = model_spec_pb2.ModelSpec(
        name=name,
        version=version,
        sample=model_spec_pb2.SampleSpec(
            kind=model_spec_pb2.SAMPLE_KIND_IMAGE if model.is_image else model_spec_pb2.SAMPLE_KIND_VECTOR,
            data_type=tensor_pb2.DATA_TYPE_UINT8 if model.is_image else tensor_pb2.DATA_TYPE_FLOAT32,
            shape=model.shape,
        ),
        latent=model_spec_pb2.LatentSpec(dimension=model.latent_dimension, distribution=model.distribution),
        label_names=model.label_names,
        generator=_graph_spec("generator.onnx"),
    )
    for position, control in enumerate(model.controls, start=model.latent_dimension - len(model.controls)):
        spec.latent.controls.add(name=control, index=position, low=-1, high=1, description=f"the code {control}")
    if "critic.onnx" in graphs:
        spec.critic.CopyFrom(_graph_spec("critic.onnx"))
        spec.score.loss = "none"
        spec.score.label_free = model.label_free
        spec.score.calibration.slope = SCORE_SLOPE
        spec.score.calibration.intercepts.extend([0.0] * (1 if model.label_free else max(1, len(model.label_names))))
        spec.score.calibration.real_count = spec.score.calibration.generated_count = 1000
        spec.score.calibration.log_loss = 0.5
    else:
        spec.critic_absence = "it judges 2 samples together"
    if "typicality.onnx" in graphs:
        spec.typicality.graph.CopyFrom(_graph_spec("typicality.onnx"))
        spec.typicality.threshold = 0.05
        spec.typicality.training_count, spec.typicality.real_count = 4000, 1000
    spec.provenance.ganserve_version = "0.1.0"
    spec.provenance.created.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    spec.provenance.libraries["onnx"] = onnx.__version__
    write_manifest(folder, spec)
    return folder


def read_manifest(folder: Path) -> model_spec_pb2.ModelSpec:
    return json_format.Parse(folder.joinpath("manifest.json").read_text(), model_spec_pb2.ModelSpec())


def write_manifest(folder: Path, spec: model_spec_pb2.ModelSpec, *, digests: bool = True) -> None:
    """Write a package's manifest, by default with new digests of its files."""
    if digests:
        del spec.files[:]
        for path in sorted(folder.iterdir()):
            if path.name != "manifest.json":
                content = path.read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                spec.files.add(name=path.name, sha256=digest, size_bytes=len(content))
    folder.joinpath("manifest.json").write_text(json_format.MessageToJson(spec, preserving_proto_field_name=True))


def _graph_spec(file: str) -> model_spec_pb2.GraphSpec:
    verification = model_spec_pb2.Verification(batch_sizes=[1, 3, 64], max_abs_difference=0.0, tolerance=1.0)
    return model_spec_pb2.GraphSpec(
        file=file, opset=OPSET, precision=model_spec_pb2.PRECISION_FLOAT32, verification=verification
    )


def _labels_input(model: TinyModel) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info("labels", TensorProto.INT64, ["N"])] if model.label_names else []


def _samples_info(model: TinyModel) -> onnx.ValueInfoProto:
    element = TensorProto.UINT8 if model.is_image else TensorProto.FLOAT
    return helper.make_tensor_value_info("samples", element, ["N", *model.shape])


def tiny_model(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: Mapping[str, NDArray[np.generic]],
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(built, full_check=True)
    return built


def _preview_png(model: TinyModel) -> bytes:
    """Return a PNG with a row of four samples for each label."""
    labels = np.repeat(np.arange(max(1, len(model.label_names))), 4)
    latents = np.linspace(-1, 1, len(labels) * model.latent_dimension, dtype=np.float32)
    height, width, channels = model.shape
    samples = model.samples(latents.reshape(len(labels), -1), labels).reshape(-1, 4, height, width, channels)
    grid = samples.transpose(0, 2, 1, 3, 4).reshape(-1, 4 * width, channels)
    buffer = io.BytesIO()
    Image.fromarray(grid.squeeze(-1) if channels == 1 else grid).save(buffer, "PNG")
    return buffer.getvalue()
