"""Test that packages with wrong graphs are refused: shapes, weights in other files, batch statistics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ganserve_server.engine.onnx_files import has_weights_elsewhere, opset_of, precision_of
from ganserve_server.errors import PackageError
from ganserve_server.models.graph_files import check_graph_files
from ganserve_server.models.package_files import read_package
from package_loading import edited, load
from tiny_packages import (
    CONDITIONAL,
    UNCONDITIONAL,
    VECTOR,
    TinyModel,
    build_tiny_package,
    critic_graph,
    generator_graph,
    read_manifest,
    typicality_graph,
    write_manifest,
    write_package,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def fixed_batch() -> onnx.ModelProto:
    graph = generator_graph(CONDITIONAL)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return graph


def other_shape_when_run() -> onnx.ModelProto:
    # Two samples for each latent.
    graph = generator_graph(UNCONDITIONAL)
    graph.graph.node[-1].output[0] = "once"
    graph.graph.node.append(helper.make_node("Concat", ["once", "once"], ["samples"], axis=0))
    graph.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "M"
    return graph


def dividing_by_zero() -> onnx.ModelProto:
    graph = generator_graph(VECTOR)
    gain = next(tensor for tensor in graph.graph.initializer if tensor.name == "gain")
    gain.CopyFrom(numpy_helper.from_array(np.array([np.inf, 1], np.float32), "gain"))
    return graph


def failing_when_run() -> onnx.ModelProto:
    # The latents lack these columns: the graph loads but does not run.
    graph = generator_graph(UNCONDITIONAL)
    columns = next(tensor for tensor in graph.graph.initializer if tensor.name == "columns")
    columns.CopyFrom(numpy_helper.from_array(np.full(64, 99), "columns"))
    return graph


def looking_across_its_batch() -> onnx.ModelProto:
    # Subtract the batch's mean from each latent, like batch normalisation in training mode.
    graph = generator_graph(UNCONDITIONAL)
    graph.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "batch_axis"))
    graph.graph.node[0].input[0] = "centred"
    graph.graph.node.insert(0, helper.make_node("ReduceMean", ["latents", "batch_axis"], ["mean"]))
    graph.graph.node.insert(1, helper.make_node("Sub", ["latents", "mean"], ["centred"]))
    return graph


def external_data() -> onnx.ModelProto:
    graph = generator_graph(VECTOR)
    gain = next(tensor for tensor in graph.graph.initializer if tensor.name == "gain")
    gain.ClearField("raw_data")
    gain.data_location = TensorProto.EXTERNAL
    gain.external_data.add(key="location", value="../../../secret.bin")
    return graph


def wrong_probabilities() -> onnx.ModelProto:
    graph = critic_graph(VECTOR)
    for node in graph.graph.node:
        if node.op_type == "Sigmoid":
            node.op_type = "Exp"
    slope = next(tensor for tensor in graph.graph.initializer if tensor.name == "slope")
    slope.CopyFrom(numpy_helper.from_array(np.array(-1e5, np.float32), "slope"))
    return graph


@pytest.mark.parametrize(
    ("model", "graphs", "reason"),
    [
        (
            CONDITIONAL,
            {"generator.onnx": fixed_batch()},
            r"latents is fixed to batches of 1; export it with a symbolic",
        ),
        (
            UNCONDITIONAL,
            {"generator.onnx": other_shape_when_run()},
            r"trial run with 1 sample failed: generator\.onnx gave samples as uint8 \[2, 8, 8, 1\]; expected",
        ),
        (VECTOR, {"generator.onnx": dividing_by_zero()}, r"gave samples that is not finite"),
        (UNCONDITIONAL, {"generator.onnx": failing_when_run()}, r"trial run with 1 sample failed: generator\.onnx"),
        (
            UNCONDITIONAL,
            {"generator.onnx": looking_across_its_batch()},
            r"latent differ by \d+ alone",
        ),
        (VECTOR, {"generator.onnx": external_data()}, r"generator\.onnx keeps weights in other files"),
        (
            VECTOR,
            {"generator.onnx": generator_graph(VECTOR), "critic.onnx": wrong_probabilities()},
            r"probabilities",
        ),
        (CONDITIONAL, {"generator.onnx": onnx.ModelProto()}, r"generator\.onnx: onnxruntime .* cannot load it"),
    ],
    ids=[
        "fixed batch",
        "other shape",
        "not finite",
        "fails",
        "across its batch",
        "external data",
        "probabilities",
        "empty graph",
    ],
)
def test_a_graph_that_contradicts_the_manifest_is_refused(
    tmp_path: Path, model: object, graphs: dict, reason: str
) -> None:
    folder = write_package(tmp_path, "tiny", 1, model=model, graphs=graphs)
    with pytest.raises(PackageError, match=reason):
        load(folder)


def in_a_constant(tensor: TensorProto) -> onnx.ModelProto:
    graph = generator_graph(VECTOR)
    graph.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))
    return graph


def in_a_branch(tensor: TensorProto) -> onnx.ModelProto:
    graph = generator_graph(VECTOR)
    output = helper.make_tensor_value_info("same", TensorProto.FLOAT, [2])
    branch = helper.make_graph(
        [helper.make_node("Identity", [tensor.name], ["same"])], "branch", [], [output], [tensor]
    )
    node = helper.make_node("If", ["condition"], ["chosen"], then_branch=branch, else_branch=branch)
    graph.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    graph.graph.node.insert(0, node)
    return graph


def in_a_function(tensor: TensorProto) -> onnx.ModelProto:
    graph = generator_graph(VECTOR)
    constant = helper.make_node("Constant", [], ["given"], value=tensor)
    opset = helper.make_opsetid("", 20)
    graph.functions.append(helper.make_function("own", "Given", [], ["given"], [constant], [opset]))
    return graph


def as_sparse_values(tensor: TensorProto) -> onnx.ModelProto:
    graph = generator_graph(VECTOR)
    indices = numpy_helper.from_array(np.arange(2), "indices")
    graph.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [2]))
    return graph


def test_more_labels_than_the_graph_takes_are_refused(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny", 1, model=TinyModel(label_names=tuple(f"label {i}" for i in range(7))))
    load(tmp_path / "tiny" / "1")
    more = edited(lambda spec: (spec.label_names.append("one too many"), spec.score.calibration.intercepts.append(0)))
    more(tmp_path / "tiny" / "1")
    with pytest.raises(PackageError, match="trial run with 1 sample failed"):
        load(tmp_path / "tiny" / "1")


@pytest.mark.parametrize("place", [in_a_constant, in_a_branch, in_a_function, as_sparse_values])
def test_external_weights_are_refused(
    tmp_path: Path, place: Callable[[TensorProto], onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    # onnxruntime would find them in the working directory.
    monkeypatch.chdir(tmp_path)
    inside = numpy_helper.from_array(np.ones(2, np.float32), "weights")
    outside = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="weights.bin")
    tmp_path.joinpath("weights.bin").write_bytes(np.ones(2, np.float32).tobytes())
    for version, tensor in enumerate([inside, outside], start=1):
        write_package(tmp_path, "tiny", version, model=VECTOR, graphs={"generator.onnx": place(tensor)})
    check_graph_files(read_package(tmp_path / "tiny" / "1"))
    with pytest.raises(PackageError, match=r"generator\.onnx keeps weights in other files.*save it whole"):
        check_graph_files(read_package(tmp_path / "tiny" / "2"))


@given(st.data())
def test_damaged_files_do_not_hide_external_weights(data: st.DataObject) -> None:
    content = bytearray(external_data().SerializeToString())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = has_weights_elsewhere(bytes(content))
    try:
        parsed = onnx.load_model_from_string(bytes(content))
    except DecodeError:
        return
    assert found or not any(tensor.external_data for tensor in parsed.graph.initializer)


@given(st.data())
def test_our_parser_reads_what_onnx_reads(data: st.DataObject) -> None:
    model = helper.make_model(
        helper.make_graph([], "weights", [], []),
        opset_imports=[helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", data.draw(st.integers(1, 400)))],
    )
    types = {1: "float32", 10: "float16", 16: "bfloat16", TensorProto.INT64: None}
    sizes = dict.fromkeys(types, 0)
    for number in range(data.draw(st.integers(0, 4))):
        kind, dims = data.draw(st.sampled_from(sorted(types))), data.draw(st.lists(st.integers(0, 300), max_size=3))
        model.graph.initializer.append(TensorProto(name=str(number), data_type=kind, dims=dims))
        sizes[kind] += math.prod(dims)
    content = model.SerializeToString()
    assert opset_of(content) == model.opset_import[1].version
    found = precision_of(content)
    there = {types[tensor.data_type]: sizes[tensor.data_type] for tensor in model.graph.initializer}
    there.pop(None, None)
    assert (found is None and not there) or there[found] == max(there.values())
    assert opset_of(content[:-1] + b"\xff") in (
        None,
        model.opset_import[1].version,
    )  # any content must parse without an error


@pytest.mark.parametrize(
    ("typicality", "threshold", "critic", "reason"),
    [
        (
            typicality_graph(CONDITIONAL, scale=3.0),
            0.05,
            True,
            r"typicality\.onnx: a trial run gave typicality outside 0 to 1",
        ),
        (typicality_graph(CONDITIONAL), 0.0, True, r"typicality\.threshold is 0; expected more than 0, less than 1"),
        (typicality_graph(CONDITIONAL), 0.05, False, r"a typicality and no critic"),
        (critic_graph(UNCONDITIONAL), 0.05, True, r"typicality\.onnx: output typicality|has the outputs"),
    ],
    ids=["outside 0 to 1", "threshold", "no critic", "other graph"],
)
def test_a_wrong_typicality_is_refused(
    tmp_path: Path, typicality: onnx.ModelProto, threshold: float, critic: bool, reason: str
) -> None:
    graphs = {"generator.onnx": generator_graph(CONDITIONAL), "typicality.onnx": typicality}
    if critic:
        graphs["critic.onnx"] = critic_graph(CONDITIONAL)
    folder = write_package(tmp_path, "tiny", 1, model=CONDITIONAL, graphs=graphs)
    spec = read_manifest(folder)
    spec.typicality.threshold = threshold
    write_manifest(folder, spec)
    with pytest.raises(PackageError, match=reason):
        load(folder)
