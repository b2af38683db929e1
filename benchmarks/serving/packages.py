"""Make packages of generators with random weights, in the sizes that are served.

N = batch, Z = latent values, E = label embedding, C = channels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf import json_format
from onnx import TensorProto, helper, numpy_helper

from ganserve.v1 import model_spec_pb2, tensor_pb2

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

OPSET = 20
LABELS = tuple("0123456789")


@dataclass(frozen=True, kw_only=True)
class GeneratorShape:
    """A DCGAN-like conditional generator: dense to 4x4, then each stage doubles the size, then a 3x3 convolution."""

    channels: tuple[int, ...]
    """Channels after the dense layer and after each doubling."""
    image_channels: int
    latent_dimension: int = 64
    embedding: int = 32
    dense: int = 0
    """If not 0, only two dense layers: the first has this width, the second makes 8x8 values."""

    @property
    def size(self) -> int:
        return 8 if self.dense else 4 * 2 ** (len(self.channels) - 1)


SHAPES = {
    "tiny": GeneratorShape(channels=(), image_channels=1, dense=64),  # next to nothing: the server's own cost remains
    "conv8": GeneratorShape(channels=(192, 96), image_channels=1),  # 8x8x1, about 6 ms of one core for 64 samples
    "g32": GeneratorShape(channels=(384, 192, 96, 48), image_channels=3),  # 32x32x3, about 60 ms
}


def write_generator_package(models: Path, name: str) -> Path:
    """Write the package of one of `SHAPES` to `models/name/1` and return that folder."""
    shape = SHAPES[name]
    sample_shape = (shape.size, shape.size, shape.image_channels)
    return write_package(models, name, _graph(shape).SerializeToString(), sample_shape, shape.latent_dimension)


def write_package(
    models: Path,
    name: str,
    generator: bytes,
    sample_shape: tuple[int, ...],
    latent_dimension: int,
    *,
    half: bool = False,
) -> Path:
    """Write the package of a conditional generator of uint8 images to `models/name/1` and return that folder."""
    folder = models / name / "1"
    folder.mkdir(parents=True)
    folder.joinpath("generator.onnx").write_bytes(generator)
    precision = model_spec_pb2.PRECISION_FLOAT16 if half else model_spec_pb2.PRECISION_FLOAT32
    spec = model_spec_pb2.ModelSpec(
        name=name,
        version=1,
        sample=model_spec_pb2.SampleSpec(
            kind=model_spec_pb2.SAMPLE_KIND_IMAGE, data_type=tensor_pb2.DATA_TYPE_UINT8, shape=sample_shape
        ),
        latent=model_spec_pb2.LatentSpec(
            dimension=latent_dimension, distribution=model_spec_pb2.LATENT_DISTRIBUTION_NORMAL
        ),
        label_names=LABELS,
        generator=model_spec_pb2.GraphSpec(file="generator.onnx", opset=OPSET, precision=precision),
    )
    spec.files.add(name="generator.onnx", sha256=hashlib.sha256(generator).hexdigest(), size_bytes=len(generator))
    folder.joinpath("manifest.json").write_text(json_format.MessageToJson(spec, preserving_proto_field_name=True))
    return folder


def _graph(shape: GeneratorShape) -> onnx.ModelProto:
    builder = _Builder()
    embedding = builder.weight("embedding", (len(LABELS), shape.embedding), 1.0)
    x = builder.node("Gather", embedding, "labels", axis=0)
    x = builder.node("Concat", "latents", x, axis=1)
    make = _dense if shape.dense else _convolutional
    x = builder.node("Tanh", make(builder, shape, x))
    x = builder.node("Add", x, builder.constant("one", np.float32(1)))
    x = builder.node("Mul", x, builder.constant("half_range", np.float32(127.5)))
    x = builder.node("Clip", x, builder.constant("lowest", np.float32(0)), builder.constant("highest", np.float32(255)))
    x = builder.node("Cast", builder.node("Round", x), to=TensorProto.UINT8)
    builder.node("Transpose", x, perm=[0, 2, 3, 1], output="samples")
    graph = helper.make_graph(
        builder.nodes,
        "generator",
        [
            helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", shape.latent_dimension]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["N"]),
        ],
        [
            helper.make_tensor_value_info(
                "samples", TensorProto.UINT8, ["N", shape.size, shape.size, shape.image_channels]
            )
        ],
        builder.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _convolutional(builder: _Builder, shape: GeneratorShape, x: str) -> str:
    first, inputs = shape.channels[0], shape.latent_dimension + shape.embedding
    dense = builder.weight("dense", (inputs, first * 16), inputs**-0.5)
    x = builder.node("MatMul", x, dense)
    x = builder.node("Reshape", x, builder.constant("grid", np.array([-1, first, 4, 4], np.int64)))
    x = builder.node("Relu", x)
    for stage, (before, after) in enumerate(zip(shape.channels, shape.channels[1:], strict=False)):
        weight = builder.weight(f"up{stage}", (before, after, 4, 4), (before * 4) ** -0.5 * 1.4)
        x = builder.node("ConvTranspose", x, weight, kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1])
        x = builder.node("Relu", x)
    last = shape.channels[-1]
    weight = builder.weight("image", (shape.image_channels, last, 3, 3), (last * 9) ** -0.5)
    return builder.node("Conv", x, weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _dense(builder: _Builder, shape: GeneratorShape, x: str) -> str:
    inputs, outputs = shape.latent_dimension + shape.embedding, shape.size**2 * shape.image_channels
    x = builder.node("Relu", builder.node("MatMul", x, builder.weight("dense1", (inputs, shape.dense), inputs**-0.5)))
    x = builder.node("MatMul", x, builder.weight("dense2", (shape.dense, outputs), shape.dense**-0.5))
    grid = builder.constant("grid", np.array([-1, shape.image_channels, shape.size, shape.size], np.int64))
    return builder.node("Reshape", x, grid)


class _Builder:
    """Collect the nodes and weights of a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def weight(self, name: str, shape: tuple[int, ...], scale: float) -> str:
        return self.constant(name, (self._random.standard_normal(shape) * scale).astype(np.float32))

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operation: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output
