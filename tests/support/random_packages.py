"""Build packages of real networks with random weights, whose sums might depend on the batch size.

N = batch, Z = latent values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tiny_packages import OPSET, TinyModel, write_package

if TYPE_CHECKING:
    from pathlib import Path

CONVOLUTIONAL = TinyModel(shape=(16, 16, 3), label_names=("a", "b", "c"), latent_dimension=24)
DENSE = TinyModel(shape=(37,), label_names=(), latent_dimension=50)


def build_convolutional_package(models_dir: Path, name: str) -> Path:
    """Build a conditional generator: dense to 4x4, two transposed convolutions, tanh, uint8 [N, 16, 16, 3]."""
    random = np.random.default_rng(0)
    weights = {
        "embedding": random.standard_normal((3, 24)),
        "dense": random.standard_normal((24, 32 * 16)) * 0.3,
        "up1": random.standard_normal((32, 16, 4, 4)) * 0.1,
        "up2": random.standard_normal((16, 3, 4, 4)) * 0.2,
    }
    constants = {"grid": np.array([-1, 32, 4, 4]), "half_range": np.float32(127.5)}
    up = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Gather", ["embedding", "labels"], ["embedded"], axis=0),
        helper.make_node("Add", ["latents", "embedded"], ["joined"]),
        helper.make_node("MatMul", ["joined", "dense"], ["flat"]),
        helper.make_node("Reshape", ["flat", "grid"], ["x1"]),
        helper.make_node("LeakyRelu", ["x1"], ["x2"]),
        helper.make_node("ConvTranspose", ["x2", "up1"], ["x3"], **up),
        helper.make_node("LeakyRelu", ["x3"], ["x4"]),
        helper.make_node("ConvTranspose", ["x4", "up2"], ["x5"], **up),
        helper.make_node("Tanh", ["x5"], ["x6"]),
        helper.make_node("Mul", ["x6", "half_range"], ["x7"]),
        helper.make_node("Add", ["x7", "half_range"], ["x8"]),
        helper.make_node("Round", ["x8"], ["x9"]),
        helper.make_node("Cast", ["x9"], ["x10"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["x10"], ["samples"], perm=[0, 2, 3, 1]),
    ]
    return _package(models_dir, name, CONVOLUTIONAL, nodes, weights, constants)


def build_dense_package(models_dir: Path, name: str) -> Path:
    """Build an unconditional generator of three dense layers, float32 [N, 37], which shows small differences."""
    random = np.random.default_rng(1)
    weights = {
        "w1": random.standard_normal((50, 128)) * 0.2,
        "w2": random.standard_normal((128, 128)) * 0.15,
        "w3": random.standard_normal((128, 37)) * 0.1,
        "b3": random.standard_normal(37),
    }
    nodes = [
        helper.make_node("MatMul", ["latents", "w1"], ["x1"]),
        helper.make_node("Tanh", ["x1"], ["x2"]),
        helper.make_node("MatMul", ["x2", "w2"], ["x3"]),
        helper.make_node("LeakyRelu", ["x3"], ["x4"]),
        helper.make_node("Gemm", ["x4", "w3", "b3"], ["samples"]),
    ]
    return _package(models_dir, name, DENSE, nodes, weights, {})


def _package(
    models_dir: Path,
    name: str,
    model: TinyModel,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    constants: dict[str, np.ndarray | np.generic],
) -> Path:
    initializers = [numpy_helper.from_array(value.astype(np.float32), key) for key, value in weights.items()]
    initializers += [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    inputs = [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", model.latent_dimension])]
    if model.label_names:
        inputs.append(helper.make_tensor_value_info("labels", TensorProto.INT64, ["N"]))
    element = TensorProto.UINT8 if model.is_image else TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info("samples", element, ["N", *model.shape])]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(built, full_check=True)
    return write_package(models_dir, name, 1, model=model, graphs={"generator.onnx": built})
