"""Test OpenVINO as the engine: the same samples as onnxruntime's, alone and in batches, and refusals."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ganserve_server.engine.engine import Engine, TensorSpec
from ganserve_server.engine.providers import CPU, OPENVINO, choose_provider
from ganserve_server.engine.sessions import EngineConfig, PlainSession
from ganserve_server.errors import PackageError, ProviderError
from ganserve_server.models.model import Model
from ganserve_server.models.package_files import read_package
from ganserve_server.models.trial import compare_engines
from ganserve_server.models.trial_inputs import fitted, trial_feeds
from ganserve_server.models.trial_process import TrialProcesses
from random_packages import build_convolutional_package
from repositories import BATCH
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("openvino", reason="the extra openvino is not installed")

from ganserve_server.engine.openvino_graph import split_transposed_convolutions
from ganserve_server.engine.openvino_library import has_bfloat16, read_model
from ganserve_server.engine.openvino_session import OpenVinoSession

CONFIG = EngineConfig(provider=OPENVINO, threads=1, calls=2)
PORTS = (
    [
        TensorSpec(name="latents", dtype=np.dtype(np.float32), sample_shape=(24,)),
        TensorSpec(name="labels", dtype=np.dtype(np.int64)),
    ],
    [TensorSpec(name="samples", dtype=np.dtype(np.uint8), sample_shape=(16, 16, 3))],
)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return (build_convolutional_package(tmp_path, "conv") / "generator.onnx").read_bytes()


def feed(count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {"latents": random.standard_normal((count, 24)).astype(np.float32), "labels": np.arange(count) % 3}


def levels_apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int))


def test_samples_are_those_of_onnxruntime_in_batches_of_any_size(content: bytes) -> None:
    engine = Engine("g", content, CONFIG, *PORTS)
    assert engine.providers == (OPENVINO,)
    assert engine.nodes_by_provider[OPENVINO] > 3
    wanted = PlainSession("g", content, replace(CONFIG, provider=CPU), ["samples"], 0).run(feed(9))[0]
    whole = feed(9)
    for start, count in ((0, 9), (0, 1), (3, 1), (2, 5), (0, 9)):
        part = {name: values[start : start + count] for name, values in whole.items()}
        assert levels_apart(engine.run(part)[0], wanted[start : start + count]).max() <= 1


def test_calls_at_once_do_not_share_memory(content: bytes) -> None:
    session = OpenVinoSession("g", content, CONFIG, ["samples"], 0)
    feeds = [{"latents": one["latents"] * scale, "labels": one["labels"]} for one in [feed(5)] for scale in range(8)]
    wanted = [session.run(one)[0] for one in feeds]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(lambda one: session.run(one)[0], feeds * 4), wanted * 4, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
def test_bfloat16_changes_samples_by_little_and_scores_not_at_all(content: bytes) -> None:
    exact, rounded = (Engine("g", content, replace(CONFIG, bfloat16=one), *PORTS) for one in (False, True))
    difference = levels_apart(exact.run(feed(32))[0], rounded.run(feed(32))[0])
    assert 0 < difference.max() <= 16
    compare_engines(rounded, exact, feed(32))
    alone = {name: values[:1] for name, values in feed(32).items()}
    assert levels_apart(rounded.run(alone)[0], rounded.run(feed(32))[0][:1]).max() <= 1


def test_bfloat16_rounds_no_critic(tmp_path: Path) -> None:
    package = read_package(build_tiny_package(tmp_path, typicality=True))
    model = Model(package, replace(CONFIG, bfloat16=has_bfloat16()), BATCH)
    assert [engine.config.bfloat16 for engine in model.engines()] == [has_bfloat16(), False, False]
    model.close()


# Kernel, stride, padding, output padding, whether it can be split
FORMS = [(4, 2, 1, 0, True), (2, 2, 0, 0, True), (3, 2, 1, 1, True), (5, 2, 2, 1, True), (6, 2, 2, 0, True)]
FORMS += [(6, 3, 2, 1, True), (4, 2, 0, 0, False), (3, 1, 1, 0, False), (1, 2, 0, 1, False)]


@pytest.mark.parametrize(("kernel", "stride", "padding", "more", "splits"), FORMS)
def test_split_convolutions_have_the_same_results(
    kernel: int, stride: int, padding: int, more: int, splits: bool
) -> None:
    random = np.random.default_rng(0)
    weights = {
        "w": random.standard_normal((5, 3, kernel, kernel)),
        "bias": random.standard_normal(3),
        "shift": random.standard_normal((1, 3, 1, 1)),
    }
    attributes = {"strides": [stride] * 2, "pads": [padding] * 4, "output_padding": [more] * 2}
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", "bias"], ["a"], **attributes),
        helper.make_node("LeakyRelu", ["a"], ["b"], alpha=0.2),
        helper.make_node("Add", ["b", "shift"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Add", ["d", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 5, 4, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    inputs = {"x": random.standard_normal((3, 5, 4, 7)).astype(np.float32)}
    model = read_model(content)
    assert split_transposed_convolutions(model) == splits
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert ("ConvolutionBackpropData" in kinds) is not splits
    wanted = PlainSession("g", content, replace(CONFIG, provider=CPU), ["y"], 0).run(inputs)[0]
    got = OpenVinoSession("g", content, CONFIG, ["y"], 0).run(inputs)[0]
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_a_package_is_tried_by_openvino_in_a_process_without_files(tmp_path: Path) -> None:
    package = read_package(build_convolutional_package(tmp_path, "conv"))
    engine, batch = fitted(package.info, CONFIG, BATCH)
    trials = TrialProcesses(timeout_s=120, memory_bytes=2**32)
    trials.check(package, engine, trial_feeds(package.info, engine, batch))
    trials.close()


def test_a_graph_that_openvino_cannot_compile_is_refused() -> None:
    graph = helper.make_graph(
        [helper.make_node("CDist", ["x", "x"], ["y"], domain="com.microsoft", metric="euclidean")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    domains = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    content = helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString()
    PlainSession("g", content, replace(CONFIG, provider=CPU), ["y"], 0)
    with pytest.raises(PackageError, match=r"^g: OpenVINO \S+ cannot compile it: .*CDist.*--provider cpu$"):
        OpenVinoSession("g", content, CONFIG, ["y"], 0)
    with pytest.raises(PackageError, match="OpenVINO"):
        OpenVinoSession("g", b'<?xml version="1.0"?><net name="g" version="11"></net>', CONFIG, ["y"], 0)


def test_another_result_than_onnxruntimes_is_refused(content: bytes) -> None:
    other = onnx.load_from_string(content)
    weights = next(one for one in other.graph.initializer if one.name == "dense")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1.1), "dense"))
    ours, reference = (
        Engine("g", content, CONFIG, *PORTS),
        Engine("g", other.SerializeToString(), replace(CONFIG, provider=CPU), *PORTS),
    )
    with pytest.raises(PackageError, match=r"differ from onnxruntime's by .*: serve it with --provider cpu"):
        compare_engines(ours, reference, feed(4))


def test_importing_it_imports_nothing_that_reports() -> None:
    program = (
        "import sys, ganserve_server.engine.openvino_session\n"
        "print([name for name in sys.modules if 'telemetry' in name or 'openvino.tools.ovc' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_openvino_is_chosen_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_provider("auto").name != OPENVINO
    assert choose_provider("openvino").name == OPENVINO
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ProviderError, match=r"--provider openvino: .* pip install 'ganserve\[openvino\]'"):
        choose_provider("openvino")
