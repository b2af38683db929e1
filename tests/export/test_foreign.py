"""ONNX files made elsewhere: what is understood, and that the package computes what the file did."""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from google.protobuf import json_format
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from foreign_graphs import (
    FLOAT,
    FLOAT16,
    INT32,
    INT64,
    UINT8,
    Dcgan,
    DcganCritic,
    OneHot,
    Z,
    export,
    flat_critic,
    flat_generator,
    node,
    save,
    tanh_nchw,
    tanh_nchw_values,
    weight,
)
from ganserve.v1 import model_spec_pb2
from ganserve_export import OnnxOptions, Packaged, package_onnx
from ganserve_export.cli import evaluate as evaluate_command
from ganserve_export.cli import package as package_command
from ganserve_export.package.onnx_graphs import precision_of
from ganserve_server.engine import onnx_files

if TYPE_CHECKING:
    from pathlib import Path

LATENTS = np.random.default_rng(5).standard_normal((9, Z)).astype(np.float32)
LABELS = np.arange(9) % 3
NCHW = {"range": "-1..1", "layout": "nchw"}
ABC = ("a", "b", "c")


def wrap(tmp_path: Path, generator: Path, critic: Path | None = None, **options: Any) -> Packaged:
    return package_onnx(generator, critic, tmp_path / "models" / "x", OnnxOptions(**options))


def run(packaged: Packaged, file: str = "generator.onnx", **feed: Any) -> list[Any]:
    session = ort.InferenceSession(packaged.folder / file, providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_inputs()] == list(feed)
    assert all(isinstance(port.shape[0], str) for port in (*session.get_inputs(), *session.get_outputs()))
    return session.run(None, feed)


def manifest(packaged: Packaged) -> model_spec_pb2.ModelSpec:
    return json_format.Parse((packaged.folder / "manifest.json").read_text(), model_spec_pb2.ModelSpec())


def levels(values: np.ndarray) -> np.ndarray:
    """[-1, 1] [N, C, H, W] -> uint8 [N, H, W, C]."""
    return np.rint(np.clip((values + 1) * 127.5, 0, 255)).astype(np.uint8).transpose(0, 2, 3, 1)


def assert_same_pixels(ours: np.ndarray, expected: np.ndarray) -> None:
    assert (ours.dtype, ours.shape) == (np.uint8, expected.shape)
    difference = np.abs(ours.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02
    assert np.ptp(ours) > 50


@pytest.fixture(scope="module")
def dcgan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Dcgan, DcganCritic]:
    """As PyTorch's tutorial has them, exported with their weights in files of their own."""
    folder = tmp_path_factory.mktemp("dcgan")
    torch.manual_seed(0)
    generator, critic = Dcgan(), DcganCritic()
    with torch.no_grad():
        generator.main[3].weight.mul_(10)
        critic.main[3].weight.mul_(300)  # so sure that its sigmoid saturates
    critic(generator(torch.randn(64, Z, 1, 1)))
    files = (
        export(generator.eval(), folder / "g.onnx", torch.randn(2, Z, 1, 1), external_data=True),
        export(critic.eval(), folder / "d.onnx", torch.randn(2, 3, 8, 8), external_data=True),
    )
    return *files, generator, critic


def test_dcgan_with_weights_beside(tmp_path: Path, dcgan: tuple[Path, Path, Dcgan, DcganCritic]) -> None:
    generator_file, critic_file, generator, critic = dcgan
    packaged = wrap(tmp_path, generator_file, critic_file, range="-1..1")
    assert "[batch, 6, 1, 1]" in packaged.generator_is
    assert {path.name for path in packaged.folder.iterdir()} == {
        "generator.onnx", "critic.onnx", "preview.png", "manifest.json"
    }  # fmt: skip
    (samples,) = run(packaged, latents=LATENTS)
    with torch.no_grad():
        images = generator(torch.from_numpy(LATENTS).reshape(-1, Z, 1, 1))
        assert_same_pixels(samples, levels(images.numpy()))
        # The log odds before the sigmoid, which itself has saturated and ranks no more.
        seen = torch.from_numpy(samples.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
        logits = critic.main[:-1](seen).flatten().numpy()
    scores, probabilities = run(packaged, "critic.onnx", samples=samples)
    assert np.abs(logits).max() > 20
    np.testing.assert_allclose(scores, logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), atol=1e-3)

    spec = manifest(packaged)
    assert (spec.latent.dimension, list(spec.sample.shape), spec.score.loss) == (Z, [8, 8, 3], "unknown")
    assert list(spec.generator.verification.batch_sizes) == [1, 3, 64]
    assert not spec.score.HasField("calibration")
    origin = json_format.MessageToDict(spec.provenance.config)["made_elsewhere"]
    for role, file in (("generator", generator_file), ("critic", critic_file)):
        files = {each["name"]: each["sha256"] for each in origin[role]["files"]}
        assert set(files) == {file.name, f"{file.name}.data"}
        for name, sha256 in files.items():
            assert sha256 == hashlib.sha256(file.with_name(name).read_bytes()).hexdigest()
        assert origin[role]["producer"].startswith("pytorch")
    assert str(tmp_path) not in json.dumps(origin)


def test_one_hot_labels_by_torch(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = OneHot(3).eval()
    file = export(network, tmp_path / "g.onnx", torch.randn(2, Z), torch.eye(3)[:2])
    packaged = wrap(tmp_path, file, label_names=ABC, range="-1..1")
    (samples,) = run(packaged, latents=LATENTS, labels=LABELS)
    with torch.no_grad():
        expected = network(torch.from_numpy(LATENTS), torch.eye(3)[LABELS]).numpy()
    assert_same_pixels(samples, levels(expected))
    assert list(manifest(packaged).label_names) == list(ABC)


def by_table(file: Path, element: int, shape: list[Any], nodes: list[onnx.NodeProto], **options: Any) -> Path:
    """Adds a row of a table for the label `y`, which the nodes make of it as `row`."""
    tail = [*nodes, node("Add", "flat row", "sum"), node("Tanh", "sum", "t"), node("Reshape", "t shape", "img")]
    constants = {"table": weight(3, 48, seed=3), "shape": np.array([-1, 3, 4, 4])} | options.pop("constants", {})
    inputs = {"z": (FLOAT, ["n", Z]), "y": (element, shape)}
    return flat_generator(file, tail, (FLOAT, ["n", 3, 4, 4]), constants=constants, inputs=inputs, **options)


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


def test_dropout_that_is_off(tmp_path: Path) -> None:
    tail = [node("Constant", "", "off", value=numpy_helper.from_array(np.array(False))),
        node("Dropout", "flat half off", "d1"), node("Dropout", "d1 half off2", "d2"), node("Dropout", "d2", "d3"),
        node("Tanh", "d3", "t"), node("Reshape", "t shape", "img")]  # fmt: skip
    constants = {"half": np.float32(0.5), "off2": np.array(False), "shape": np.array([-1, 3, 4, 4])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    assert_same_pixels(run(wrap(tmp_path, file, **NCHW), latents=LATENTS)[0], levels(tanh_nchw_values(LATENTS)))


def test_images_with_their_channels_last(tmp_path: Path) -> None:
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
def test_levels_pass(tmp_path: Path, layout: str) -> None:
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
    # A critic of the same images may still take floats, whose range is then asked for.
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
        ({FLOAT16: 5, TensorProto.INT64: 900}, "float16"),  # tables of numbers are no weights
        ({TensorProto.INT8: 900, FLOAT16: 5}, "float16"),
        ({FLOAT16: 5, FLOAT: 6}, "float32"),
        ({FLOAT16: 7, FLOAT: 6, TensorProto.BFLOAT16: 8}, "bfloat16"),
        ({TensorProto.DOUBLE: 8}, None),
        ({}, None),
    ],
)
def test_a_packages_precision_is_what_a_server_reads_from_its_graph(
    weights: dict[int, int], expected: str | None
) -> None:
    graph = helper.make_graph([], "g", [], [])
    graph.initializer.extend(
        TensorProto(name=str(kind), data_type=kind, dims=[count]) for kind, count in weights.items()
    )
    model = helper.make_model(graph)
    assert onnx_files.precision_of(model.SerializeToString()) == expected
    assert precision_of(model) == (expected or "float32")


@pytest.mark.parametrize("element", [FLOAT, FLOAT16, TensorProto.DOUBLE])
def test_vectors_pass(tmp_path: Path, element: int) -> None:
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


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    return tanh_nchw(tmp_path / "g.onnx")


def expected_logits(samples: np.ndarray) -> np.ndarray:
    """What `flat_critic` makes of uint8 [N, 4, 4, 3]."""
    seen = samples.transpose(0, 3, 1, 2).reshape(len(samples), -1) / 127.5 - 1
    return (seen @ weight(48, 1, seed=1))[:, 0]


SAMPLES = np.random.default_rng(6).integers(0, 256, (9, 4, 4, 3), np.uint8)


@pytest.mark.parametrize("higher", ["real", "generated"])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_scores_of_either_sign(tmp_path: Path, generator: Path, higher: str, sigmoid: bool) -> None:
    critic = flat_critic(tmp_path / "c.onnx", sigmoid=sigmoid)
    packaged = wrap(tmp_path, generator, critic, score_higher=higher, **NCHW)
    scores, probabilities = run(packaged, "critic.onnx", samples=SAMPLES)
    expected = expected_logits(SAMPLES) * (1 if higher == "real" else -1)
    assert (scores.dtype, probabilities.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-4)
    assert ("before the sigmoid" in packaged.critic_is) == sigmoid
    assert packaged.calibration is None


def test_a_sigmoid_that_is_meant_as_a_score(tmp_path: Path, generator: Path) -> None:
    critic = flat_critic(tmp_path / "c.onnx", sigmoid=True)
    packaged = wrap(tmp_path, generator, critic, critic_output="score", **NCHW)
    scores, _ = run(packaged, "critic.onnx", samples=SAMPLES)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-expected_logits(SAMPLES))), atol=1e-4)


def test_probabilities_of_another_make(tmp_path: Path, generator: Path) -> None:
    nodes = [
        node("Reshape", "x flat", "f"), node("MatMul", "f w", "m"), node("HardSigmoid", "m", "p", alpha=0.2, beta=0.5)
    ]  # fmt: skip
    constants = {"flat": np.array([-1, 48]), "w": weight(48, 1, seed=1)}
    critic = save(tmp_path / "c.onnx", nodes, {"x": (FLOAT, ["n", 3, 4, 4])}, {"p": (FLOAT, ["n", 1])}, constants)
    packaged = wrap(tmp_path, generator, critic, critic_output="probability", **NCHW)
    scores, probabilities = run(packaged, "critic.onnx", samples=SAMPLES)
    expected = np.clip(0.2 * expected_logits(SAMPLES) + 0.5, 1e-7, 1 - 1e-7)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() < 17


def test_a_critic_of_labels_and_one_of_several_outputs(tmp_path: Path) -> None:
    generator = by_table(tmp_path / "g.onnx", INT64, ["n"], [node("Gather", "table y", "row", axis=0)])
    nodes = [
        node("Reshape", "x flat", "f"), node("MatMul", "f w", "all"), node("Identity", "all", "classes"),
        node("GatherElements", "all c", "realness", axis=1),
    ]  # fmt: skip
    constants = {"flat": np.array([-1, 48]), "w": weight(48, 3, seed=1)}
    inputs = {"x": (FLOAT, ["n", 3, 4, 4]), "c": (INT64, ["n", 1])}
    outputs = {"classes": (FLOAT, ["n", 3]), "realness": (FLOAT, ["n", 1])}
    critic = save(tmp_path / "c.onnx", nodes, inputs, outputs, constants)
    packaged = wrap(tmp_path, generator, critic, label_names=ABC, **NCHW)
    scores, _ = run(packaged, "critic.onnx", samples=SAMPLES, labels=LABELS)
    seen = SAMPLES.transpose(0, 3, 1, 2).reshape(9, -1) / 127.5 - 1
    np.testing.assert_allclose(scores, (seen @ weight(48, 3, seed=1))[np.arange(9), LABELS], rtol=1e-4, atol=1e-4)
    spec = manifest(packaged)
    assert not spec.score.label_free
    assert not spec.score.HasField("calibration")

    packaged = wrap(tmp_path, generator, flat_critic(tmp_path / "d.onnx"), label_names=ABC, **NCHW)
    assert packaged.version == 2
    run(packaged, "critic.onnx", samples=SAMPLES)
    assert manifest(packaged).score.label_free


def test_names_that_are_taken_and_branches(tmp_path: Path) -> None:
    """A graph whose values are called like ours, one of them met inside a branch only, and by an old exporter."""
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
    """As torch.onnx.export used to write them; ONNX's converter alone would move their pixels."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.ConvTranspose2d(Z, 3, 4), nn.Upsample(scale_factor=2), nn.Conv2d(3, 3, 3),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Tanh(),
    ).eval()  # fmt: skip
    file, axes = tmp_path / "g.onnx", {"z": {0: "batch"}, "img": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the old exporter
        torch.onnx.export(
            network, (torch.randn(2, Z, 1, 1),), file, dynamo=False, opset_version=opset, input_names=["z"],
            output_names=["img"], dynamic_axes=axes,
        )  # fmt: skip
    packaged = wrap(tmp_path, file, range="-1..1")
    assert manifest(packaged).generator.opset == 11
    raw = ort.InferenceSession(file).run(None, {"z": LATENTS[..., None, None]})[0]
    assert_same_pixels(run(packaged, latents=LATENTS)[0], levels(raw))


def test_a_package_can_be_packaged_again(tmp_path: Path, generator: Path) -> None:
    first = wrap(tmp_path, generator, flat_critic(tmp_path / "c.onnx"), **NCHW)
    again = package_onnx(
        first.folder / "generator.onnx",
        first.folder / "critic.onnx",
        tmp_path / "models" / "y",
        OnnxOptions(layout="nhwc"),
    )
    np.testing.assert_array_equal(run(again, latents=LATENTS)[0], run(first, latents=LATENTS)[0])
    np.testing.assert_array_equal(
        run(again, "critic.onnx", samples=SAMPLES)[0], run(first, "critic.onnx", samples=SAMPLES)[0]
    )


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A generator of noise that takes labels, and a critic that knows how bright a label's images are."""
    folder = tmp_path_factory.mktemp("of_digits")
    tail = [
        node("Gather", "table y", "row", axis=0), node("Add", "flat row", "sum"), node("Tanh", "sum", "t"),
        node("Reshape", "t shape", "img"),
    ]  # fmt: skip
    constants = {"table": weight(10, 64, seed=3), "shape": np.array([-1, 1, 8, 8])}
    inputs = {"z": (FLOAT, ["n", Z]), "y": (INT64, ["n"])}
    generator = flat_generator(
        folder / "g.onnx", tail, (FLOAT, ["n", 1, 8, 8]), values=64, constants=constants, inputs=inputs
    )
    nodes = [
        node("ReduceMean", "x", "mean", axes=[1, 2, 3], keepdims=0), node("Gather", "bias c", "b", axis=0),
        node("Sub", "b mean", "score"),
    ]  # fmt: skip
    bias = {"bias": np.arange(10, dtype=np.float32)}
    inputs = {"x": (FLOAT, ["n", 1, 8, 8]), "c": (INT64, ["n"])}
    critic = save(folder / "c.onnx", nodes, inputs, {"score": (FLOAT, ["n"])}, bias)
    return generator, critic


def test_calibrated_on_data(tmp_path: Path, of_digits: tuple[Path, Path]) -> None:
    names = tuple(map(str, reversed(range(10))))
    packaged = wrap(tmp_path, *of_digits, label_names=names, range="-1..1", data="digits")
    assert packaged.calibration is not None
    assert packaged.calibration.real_count == packaged.calibration.generated_count == 360
    assert packaged.calibration.auc > 0.7
    spec = manifest(packaged)
    calibration = spec.score.calibration
    assert (len(calibration.intercepts), calibration.real_count) == (10, 360)
    samples, labels = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8), np.arange(9)
    scores, probabilities = run(packaged, "critic.onnx", samples=samples, labels=labels)
    log_odds = calibration.slope * scores + np.array(calibration.intercepts)[labels]
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-log_odds)), atol=1e-5)
    # The bias of each label is no merit: it is evened out by the label's intercept.
    assert np.ptp(np.array(calibration.intercepts) + calibration.slope * np.arange(10)) < calibration.slope


def test_evaluate_judges_it(tmp_path: Path, of_digits: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    packaged = wrap(tmp_path, of_digits[0], label_names=tuple(map(str, range(10))), range="-1..1")
    only = ("--metrics", "gan-train-test", "--samples", "200", "--json")
    assert evaluate_command.main([str(packaged.folder), *only]) == 2
    assert "--data" in capsys.readouterr().err
    assert evaluate_command.main([str(packaged.folder), "--data", "digits", *only]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["gan_test"] < 0.5


def test_the_command(tmp_path: Path, generator: Path, capsys: pytest.CaptureFixture[str]) -> None:
    critic = flat_critic(tmp_path / "c.onnx")
    out = ("--range", "-1..1", "--layout", "nchw", "--out", str(tmp_path / "models" / "x"))
    assert package_command.main([str(generator), str(critic), *out]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "x version 1, from g.onnx and c.onnx, made elsewhere",
        "  generator  latents z float32 [n, 6] (normal) -> img float32 nchw, -1..1 -> images [4, 4, 3]",
        "  critic     samples x float32 [n, 3, 4, 4], -1..1 -> logit (score; real higher)",
        "verified against the originals on random inputs at batch 1, 3, 64; largest differences:",
        lines[4],
        lines[5],
        "probabilities are not calibrated, but sigmoid(score): --data calibrates them",
        f"published {tmp_path / 'models' / 'x' / '1'}",
    ]
    assert package_command.main([str(generator), *out, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["version"], result["critic"], result["calibration"]) == (2, None, None)
    assert result["generator"]["batch_sizes"] == [1, 3, 64]
