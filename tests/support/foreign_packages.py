"""Wrap ONNX files made elsewhere, and run the packages. N = batch, Z = latent, H, W, C = image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from foreign_graphs import FLOAT, Z, flat_generator, node, weight
from ganserve_export import OnnxOptions, Packaged, package_onnx
from ganserve_export.package.manifest import read_manifest

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from ganserve.v1 import model_spec_pb2

LATENTS = np.random.default_rng(5).standard_normal((9, Z)).astype(np.float32)
LABELS = np.arange(9) % 3
NCHW = {"range": "-1..1", "layout": "nchw"}
ABC = ("a", "b", "c")


def wrap(tmp_path: Path, generator: Path, critic: Path | None = None, **options: Any) -> Packaged:
    return package_onnx(generator, critic, tmp_path / "models" / "x", OnnxOptions(**options))


def run(packaged: Packaged, file: str = "generator.onnx", **feed: Any) -> list[Any]:
    session = ort.InferenceSession(packaged.folder / file, providers=["CPUExecutionProvider"])
    assert [tensor.name for tensor in session.get_inputs()] == list(feed)
    assert all(isinstance(tensor.shape[0], str) for tensor in (*session.get_inputs(), *session.get_outputs()))
    return session.run(None, feed)


def manifest(packaged: Packaged) -> model_spec_pb2.ModelSpec:
    return read_manifest(packaged.folder)


def levels(values: np.ndarray) -> np.ndarray:
    """[-1, 1] [N, C, H, W] -> uint8 [N, H, W, C]."""
    return np.rint(np.clip((values + 1) * 127.5, 0, 255)).astype(np.uint8).transpose(0, 2, 3, 1)


def assert_same_pixels(ours: np.ndarray, expected: np.ndarray) -> None:
    assert (ours.dtype, ours.shape) == (np.uint8, expected.shape)
    difference = np.abs(ours.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02
    assert np.ptp(ours) > 50


def by_table(file: Path, element: int, shape: list[Any], nodes: list[onnx.NodeProto], **options: Any) -> Path:
    """Write a generator that adds one row of a table per label; `nodes` turn the label `y` into that `row`."""
    tail = [*nodes, node("Add", "flat row", "sum"), node("Tanh", "sum", "t"), node("Reshape", "t shape", "img")]
    constants = {"table": weight(3, 48, seed=3), "shape": np.array([-1, 3, 4, 4])} | options.pop("constants", {})
    inputs = {"z": (FLOAT, ["n", Z]), "y": (element, shape)}
    return flat_generator(file, tail, (FLOAT, ["n", 3, 4, 4]), constants=constants, inputs=inputs, **options)
