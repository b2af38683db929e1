"""Test that processes map the same weights, and compute the same bits as without."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ganserve_server.engine import shared_weights
from ganserve_server.engine.providers import CPU
from ganserve_server.engine.sessions import EngineConfig, PlainSession
from ganserve_server.processes.weights_folder import weights_folder

if TYPE_CHECKING:
    from pathlib import Path


def convolutional_graph(seed: int = 0) -> bytes:
    """Return a generator of dense and transposed convolutional layers, with 2 MiB of weights."""
    rng = np.random.default_rng(seed)
    shapes = {"dense": (64, 64 * 16), "up": (64, 128, 6, 6), "out": (3, 128, 3, 3)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) * 0.05, name)
        for name, shape in shapes.items()
    ]
    weights.append(numpy_helper.from_array(np.array([-1, 64, 4, 4], np.int64), "grid"))
    nodes = [
        helper.make_node("MatMul", ["latents", "dense"], ["a"]),
        helper.make_node("Reshape", ["a", "grid"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("ConvTranspose", ["c", "up"], ["d"], strides=[2, 2], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "out"], ["f"], pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["f"], ["samples"]),
    ]
    inputs = [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["N", 64])]
    outputs = [helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["N", 3, 8, 8])]
    graph = helper.make_graph(nodes, "generator", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def session(content: bytes, folder: Path | None) -> PlainSession:
    config = EngineConfig(provider=CPU, threads=1, shared_weights=folder)
    return PlainSession("generator.onnx", content, config, ["samples"], 0)


def mapped(folder: Path) -> int:
    with open("/proc/self/maps") as maps:  # noqa: PTH123
        return sum(str(folder) in line for line in maps)


def test_weights_are_mapped_from_one_file_and_samples_keep_their_bits(tmp_path: Path) -> None:
    content = convolutional_graph()
    feed = {"latents": np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32)}
    plain = session(content, None)
    (expected,) = plain.run(feed)
    shared = [session(content, tmp_path) for _ in range(2)]
    for one in shared:
        assert np.array_equal(one.run(feed)[0], expected)
        assert one.inputs[0].name == "latents"
        assert one.nodes_by_provider.keys() == plain.nodes_by_provider.keys()
    assert mapped(tmp_path), "the weights are in the file, not in this process"
    assert len([place for place in tmp_path.iterdir() if place.is_dir()]) == 1


def test_a_damaged_attempt_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    content = convolutional_graph()
    place = shared_weights.prepared(tmp_path, content)
    assert place is not None
    place.parent.rename(tmp_path / f".{place.parent.name}")
    (tmp_path / f".{place.parent.name}" / "weights").write_bytes(b"half")
    assert session(content, tmp_path).run({"latents": np.zeros((1, 64), np.float32)})


def test_small_graphs_and_those_that_cannot_be_written_have_weights_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert shared_weights.prepared(tmp_path, b"small") is None
    assert not list(tmp_path.iterdir())
    caplog.set_level(logging.WARNING)
    assert session(convolutional_graph(), tmp_path / "missing").run({"latents": np.zeros((1, 64), np.float32)})
    assert "weights are not shared among processes" in caplog.text


def test_graphs_of_long_ago_leave_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_weights, "_MOST_GRAPHS", 2)
    places = []
    for seed in range(3):
        place = shared_weights.prepared(tmp_path, convolutional_graph(seed))
        assert place is not None
        os.utime(place.parent, (seed, seed))
        places.append(place)
    shared_weights.prepared(tmp_path, convolutional_graph(2))
    assert [place.exists() for place in places] == [False, True, True]


def test_the_folder_ends_with_the_server_and_those_of_killed_ones_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = tmp_path / "ganserve-weights-dead"
    dead.mkdir()
    (dead / "owner").touch()
    with weights_folder() as first, weights_folder() as second:
        assert first is not None
        assert second is not None
        assert first.stat().st_mode & 0o777 == 0o700
        assert not dead.exists()
        assert first.exists(), "its server runs"
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with weights_folder() as none:
        assert none is None
