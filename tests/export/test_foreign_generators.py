"""Package generators made elsewhere, in many forms, and compare each package with its file."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from foreign_graphs import (
    FLOAT,
    FLOAT16,
    INT32,
    INT64,
    UINT8,
    OneHot,
    Z,
    export,
    flat_critic,
    flat_generator,
    node,
    save,
    tanh_nchw_values,
    weight,
)
from foreign_packages import ABC, LABELS, LATENTS, NCHW, assert_same_pixels, by_table, levels, manifest, run, wrap
from ganserve.v1 import model_spec_pb2
from ganserve_export.errors import ExportError
from ganserve_export.package.onnx_graphs import precision_of
from ganserve_server.engine import onnx_files

if TYPE_CHECKING:
    from pathlib import Path


def test_one_hot_labels_of_a_torch_network(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = OneHot(3).eval()
    file = export(network, tmp_path / "g.onnx", torch.randn(2, Z), torch.eye(3)[:2])
    packaged = wrap(tmp_path, file, label_names=ABC, range="-1..1")
    (samples,) = run(packaged, latents=LATENTS, labels=LABELS)
    with torch.no_grad():
        expected = network(torch.from_numpy(LATENTS), torch.eye(3)[LABELS]).numpy()
    assert_same_pixels(samples, levels(expected))
    assert list(manifest(packaged).label_names) == list(ABC)


GATHER_COLUMN = [node("Gather", "table y", "row1", axis=0), node("Reshape", "row1 wide", "row")]
MATMUL = [node("Cast", "y", "yf", to=FLOAT), node("Reshape", "yf three", "yr"), node("MatMul", "yr table", "row")]
WIDE, THREE = {"wide": np.array([-1, 48])}, {"three": np.array([-1, 3])}


@pytest.mark.parametrize(
    ("element", "shape", "nodes", "constants"),
    [
        (INT64, ["n"], [node("Gather", "table y", "row", axis=0)], {}),
        (INT32, ["n"], [node("Gather", "table y", "row", axis=0)], {}),
        (INT64, ["n", 1], GATHER_COLUMN, WIDE),
        (INT32, ["n", 1], GATHER_COLUMN, WIDE),
        (FLOAT, ["n", 3], MATMUL, THREE),
        (FLOAT16, ["n", 3, 1, 1], MATMUL, THREE),
        (INT64, ["n", 3], MATMUL, THREE),
        (UINT8, ["n", 3], MATMUL, THREE),
    ],
)
def test_labels_in_every_form(
    tmp_path: Path, element: int, shape: list[Any], nodes: list[onnx.NodeProto], constants: dict[str, Any]
) -> None:
    file = by_table(tmp_path / "g.onnx", element, shape, nodes, constants=constants)
    packaged = wrap(tmp_path, file, label_names=ABC, **NCHW)
    (samples,) = run(packaged, latents=LATENTS, labels=LABELS)
    values = np.tanh(LATENTS @ weight(Z, 48) + weight(3, 48, seed=3)[LABELS]).reshape(-1, 3, 4, 4)
    assert_same_pixels(samples, levels(values))


def test_dropout_in_eval_mode(tmp_path: Path) -> None:
    tail = [node("Constant", "", "off", value=numpy_helper.from_array(np.array(False))),
        node("Dropout", "flat half off", "d1"), node("Dropout", "d1 half off2", "d2"), node("Dropout", "d2", "d3"),
        node("Tanh", "d3", "t"), node("Reshape", "t shape", "img")]  # fmt: skip
    constants = {"half": np.float32(0.5), "off2": np.array(False), "shape": np.array([-1, 3, 4, 4])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    assert_same_pixels(run(wrap(tmp_path, file, **NCHW), latents=LATENTS)[0], levels(tanh_nchw_values(LATENTS)))


def test_channels_last(tmp_path: Path) -> None:
    shape = {"shape": np.array([-1, 5, 6, 1])}
    tail = [node("Sigmoid", "flat", "s"), node("Reshape", "s shape", "img")]
    packaged = wrap(
        tmp_path, flat_generator(tmp_path / "g.onnx", tail, (FLOAT, None), values=30, constants=shape), range="0..1"
    )
    values = 1 / (1 + np.exp(-(LATENTS @ weight(Z, 30))))
    assert_same_pixels(run(packaged, latents=LATENTS)[0], np.rint(values * 255).reshape(-1, 5, 6, 1).astype(np.uint8))


def test_values_beyond_their_range_are_clamped(tmp_path: Path) -> None:
    tail = [
        node("Mul", "flat factor", "m"), node("Add", "m middle", "a"), node("Reshape", "a shape", "img")
    ]  # fmt: skip
    constants = {"shape": np.array([-1, 1, 8, 6]), "factor": np.float32(60), "middle": np.float32(120)}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 1, 8, 6]), constants=constants)
    packaged = wrap(tmp_path, file, range="0..255")
    values = (LATENTS @ weight(Z, 48) * 60 + 120).reshape(-1, 8, 6, 1)
    assert values.min() < -10
    assert values.max() > 265
    assert_same_pixels(run(packaged, latents=LATENTS)[0], np.rint(np.clip(values, 0, 255)).astype(np.uint8))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_uint8_images(tmp_path: Path, layout: str) -> None:
    shape = [3, 8, 2] if layout == "nchw" else [8, 2, 3]
    tail = [
        node("Sigmoid", "flat", "s"), node("Mul", "s top", "m"), node("Cast", "m", "u", to=UINT8),
        node("Reshape", "u shape", "img"),
    ]  # fmt: skip
    constants = {"shape": np.array([-1, *shape]), "top": np.float32(255)}
    file = flat_generator(tmp_path / "g.onnx", tail, (UINT8, ["n", *shape]), constants=constants)
    packaged = wrap(tmp_path, file, layout=layout)
    values = (255 / (1 + np.exp(-(LATENTS @ weight(Z, 48))))).astype(np.uint8).reshape(-1, *shape)
    expected = values.transpose(0, 2, 3, 1) if layout == "nchw" else values
    assert_same_pixels(run(packaged, latents=LATENTS)[0], expected)
    # A critic of the same images may take floats, which need a range.
    critic = flat_critic(tmp_path / "c.onnx", shape)
    packaged = wrap(tmp_path, file, critic, layout=layout, range="0..1")
    scores, _ = run(packaged, "critic.onnx", samples=expected)
    np.testing.assert_allclose(scores, values.reshape(9, -1) / 255 @ weight(48, 1, seed=1)[:, 0], rtol=1e-4, atol=1e-5)


def test_half_precision(tmp_path: Path) -> None:
    nodes = [node("MatMul", "z w", "flat"), node("Tanh", "flat", "t"), node("Reshape", "t shape", "img")]
    constants = {"w": weight(Z, 64).astype(np.float16), "shape": np.array([-1, 1, 8, 8])}
    file = save(tmp_path / "g.onnx", nodes, {"z": (FLOAT16, ["n", Z])}, {"img": (FLOAT16, ["n", 1, 8, 8])}, constants)
    packaged = wrap(tmp_path, file, range="-1..1")
    expected = levels(np.tanh(LATENTS @ weight(Z, 64)).reshape(-1, 1, 8, 8))
    difference = np.abs(run(packaged, latents=LATENTS)[0].astype(int) - expected)
    assert difference.max() <= 1
    assert manifest(packaged).generator.precision == model_spec_pb2.PRECISION_FLOAT16


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({FLOAT16: 5, TensorProto.INT64: 900}, "float16"),  # integer tables are not weights
        ({TensorProto.INT8: 900, FLOAT16: 5}, "float16"),
        ({FLOAT16: 5, FLOAT: 6}, "float32"),
        ({FLOAT16: 7, FLOAT: 6, TensorProto.BFLOAT16: 8}, "bfloat16"),
        ({TensorProto.DOUBLE: 8}, None),
        ({}, None),
    ],
)
def test_export_and_server_agree_on_the_precision(weights: dict[int, int], expected: str | None) -> None:
    graph = helper.make_graph([], "g", [], [])
    graph.initializer.extend(
        TensorProto(name=str(kind), data_type=kind, dims=[count]) for kind, count in weights.items()
    )
    model = helper.make_model(graph)
    assert onnx_files.precision_of(model.SerializeToString()) == expected
    assert precision_of(model) == (expected or "float32")


@pytest.mark.parametrize("element", [FLOAT, FLOAT16, TensorProto.DOUBLE])
def test_vectors(tmp_path: Path, element: int) -> None:
    file = flat_generator(tmp_path / "g.onnx", [node("Cast", "flat", "img", to=element)], (element, ["n", 2]), values=2)
    critic = flat_critic(tmp_path / "c.onnx", [2])
    packaged = wrap(tmp_path, file, critic, latent_distribution="uniform")
    (samples,) = run(packaged, latents=LATENTS)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, LATENTS @ weight(Z, 2), rtol=2e-3, atol=2e-3)
    scores, _ = run(packaged, "critic.onnx", samples=samples)
    np.testing.assert_allclose(scores, samples @ weight(2, 1, seed=1)[:, 0], rtol=1e-4, atol=1e-5)
    spec = manifest(packaged)
    assert spec.latent.distribution == model_spec_pb2.LATENT_DISTRIBUTION_UNIFORM
    assert spec.sample.kind == model_spec_pb2.SAMPLE_KIND_VECTOR
    assert (packaged.folder / "preview.png").exists()


def test_name_clashes_and_branches(tmp_path: Path) -> None:
    """Package a graph of an old exporter whose values have a package's names, one of them only in a branch."""
    branch = [
        helper.make_graph([node("Add", "labels samples", out)], f"by {out}", [], [helper.make_tensor_value_info(
            out, FLOAT, ["n", 3, 4, 4])]) for out in ("p", "q")
    ]  # fmt: skip
    nodes = [
        node("MatMul", "samples_in w", "latents"),
        node("Tanh", "latents", "t"),
        node("Reshape", "t shape", "labels"),
        node("If", "yes", "ganserve/output", then_branch=branch[0], else_branch=branch[1]),
    ]
    constants = {
        "w": weight(Z, 48), "shape": np.array([-1, 3, 4, 4]), "samples": np.float32(0.25), "yes": np.array(True)
    }  # fmt: skip
    file = save(
        tmp_path / "g.onnx",
        nodes,
        {"samples_in": (FLOAT, ["n", Z])},
        {"ganserve/output": (FLOAT, ["n", 3, 4, 4])},
        constants,
        opset=9,
        ir_version=3,
        constants_as_inputs=True,
    )
    packaged = wrap(tmp_path, file, **NCHW)
    assert_same_pixels(run(packaged, latents=LATENTS)[0], levels(tanh_nchw_values(LATENTS) + 0.25))
    assert manifest(packaged).generator.opset >= 11


@pytest.mark.parametrize("opset", [9, 10, 11])
def test_resizes_of_old_operator_sets(tmp_path: Path, opset: int) -> None:
    """Convert the Resize nodes of old versions of torch; ONNX's converter alone would shift their pixels."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.ConvTranspose2d(Z, 3, 4), nn.Upsample(scale_factor=2), nn.Conv2d(3, 3, 3),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Tanh(),
    ).eval()  # fmt: skip
    file, axes = tmp_path / "g.onnx", {"z": {0: "batch"}, "img": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old exporter warns about itself
        torch.onnx.export(
            network, (torch.randn(2, Z, 1, 1),), file, dynamo=False, opset_version=opset, input_names=["z"],
            output_names=["img"], dynamic_axes=axes,
        )  # fmt: skip
    packaged = wrap(tmp_path, file, range="-1..1")
    assert manifest(packaged).generator.opset == 11
    raw = ort.InferenceSession(file).run(None, {"z": LATENTS[..., None, None]})[0]
    assert_same_pixels(run(packaged, latents=LATENTS)[0], levels(raw))


def _scales(file: Path, sides: tuple[int, ...]) -> Path:
    """Write a generator of the same image in several sizes, the last one from `flat` as it is."""
    nodes, constants, outputs = [node("MatMul", "z w", "flat")], {"w": weight(Z, 48)}, {}
    for side in sides:
        size = 3 * side * side
        constants |= {f"end{side}": np.array([size]), f"shape{side}": np.array([-1, 3, side, side])}
        nodes += [
            node("Slice", f"flat zero end{side} one", f"cut{side}"),
            node("Tanh", f"cut{side}", f"t{side}"),
            node("Reshape", f"t{side} shape{side}", f"img{side}"),
        ]
        outputs[f"img{side}"] = (FLOAT, ["n", 3, side, side])
    constants |= {"zero": np.array([0]), "one": np.array([1])}
    return save(file, nodes, {"z": (FLOAT, ["n", Z])}, outputs, constants)


def test_the_largest_of_several_sizes_is_the_image(tmp_path: Path) -> None:
    packaged = wrap(tmp_path, _scales(tmp_path / "g.onnx", (1, 2, 4)), layout="nchw")
    (samples,) = run(packaged, latents=LATENTS)
    assert_same_pixels(samples, levels(tanh_nchw_values(LATENTS)))
    with pytest.raises(ExportError, match="Say which: --output NAME"):
        wrap(tmp_path, _scales(tmp_path / "g.onnx", (3, 4)), layout="nchw")
