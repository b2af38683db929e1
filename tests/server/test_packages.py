"""Packages that are broken in every way: each is refused with a reason that helps, and the others serve."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ganserve.v1 import gan_service_pb2, model_spec_pb2, tensor_pb2
from ganserve_server.engine.engine import EngineConfig
from ganserve_server.engine.onnx_files import has_weights_elsewhere, opset_of, precision_of
from ganserve_server.errors import PackageError
from ganserve_server.models.model import Model
from ganserve_server.models.package import is_plain_file_name, read_package
from ganserve_server.models.repository import Repository
from ganserve_server.queue.batch_config import BatchConfig
from server_process import running_server
from stubs import connected
from tiny_packages import (
    CONDITIONAL,
    UNCONDITIONAL,
    VECTOR,
    TinyModel,
    build_tiny_package,
    critic_graph,
    generator_graph,
    read_manifest,
    write_manifest,
    write_package,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENGINE = EngineConfig(provider="CPUExecutionProvider", threads=1)
BATCH = BatchConfig(max_batch_size=4, max_queued_samples=100, workers=1)


def load(folder: Path) -> None:
    Model(read_package(folder), ENGINE, BATCH).close()


def edited(change: Callable[[model_spec_pb2.ModelSpec], object]) -> Callable[[Path], None]:
    """A package whose manifest was changed."""

    def edit(folder: Path) -> None:
        spec = read_manifest(folder)
        change(spec)
        write_manifest(folder, spec, digests=False)

    return edit


def setting(path: str, value: object) -> Callable[[Path], None]:
    def change(spec: model_spec_pb2.ModelSpec) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            spec = getattr(spec, parent)
        setattr(spec, name, value)

    return edited(change)


def one_intercept(spec: model_spec_pb2.ModelSpec) -> None:
    del spec.score.calibration.intercepts[1:]


def json_edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads(folder.joinpath("manifest.json").read_text())
        change(manifest)
        folder.joinpath("manifest.json").write_text(json.dumps(manifest))

    return edit


def link_outside(folder: Path) -> None:
    outside = folder.parent.parent / "outside.onnx"
    folder.joinpath("generator.onnx").rename(outside)
    folder.joinpath("generator.onnx").symlink_to(outside)


def corrupt(folder: Path) -> None:
    content = bytearray(folder.joinpath("generator.onnx").read_bytes())
    content[100] ^= 1
    folder.joinpath("generator.onnx").write_bytes(content)


def truncate(folder: Path) -> None:
    content = folder.joinpath("critic.onnx").read_bytes()
    folder.joinpath("critic.onnx").write_bytes(content[:-10])


BROKEN = {
    "no manifest": (lambda folder: folder.joinpath("manifest.json").unlink(), r"manifest\.json is missing"),
    "manifest is a folder": (
        lambda folder: (folder.joinpath("manifest.json").unlink(), folder.joinpath("manifest.json").mkdir()),
        r"manifest\.json cannot be read",
    ),
    "not JSON": (lambda folder: folder.joinpath("manifest.json").write_text("{"), r"is not the JSON of a ganserve"),
    "not UTF-8": (lambda folder: folder.joinpath("manifest.json").write_bytes(b"\xff"), r"cannot be read"),
    "unknown field": (json_edited(lambda manifest: manifest.update(colour=1)), r'no field named "colour"'),
    "other name": (setting("name", "other"), r"names the model 'other', its folder is 'tiny'"),
    "other version": (setting("version", 9), r"says version 9, its folder is '1'"),
    "kind missing": (setting("sample.kind", 0), r"sample\.kind is SAMPLE_KIND_UNSPECIFIED; expected IMAGE or VECTOR"),
    "kind unknown": (json_edited(lambda manifest: manifest["sample"].update(kind=77)), r"sample\.kind is 77"),
    "wrong axes": (edited(lambda spec: spec.sample.shape.pop()), r"sample\.shape is \[8, 8\]; expected \[H, W, C\]"),
    "empty axis": (
        edited(lambda spec: spec.sample.shape.__setitem__(0, 0)),
        r"sample\.shape is \[0, 8, 1\].*at least 1",
    ),
    "wrong type": (setting("sample.data_type", tensor_pb2.DATA_TYPE_FLOAT32), r"expected DATA_TYPE_UINT8"),
    "no latents": (setting("latent.dimension", 0), r"latent\.dimension is 0"),
    "no distribution": (setting("latent.distribution", 0), r"latent\.distribution is LATENT_DISTRIBUTION_UNSPECIFIED"),
    "label twice": (edited(lambda spec: spec.label_names.append("one")), r"label_names must be distinct"),
    "empty label": (edited(lambda spec: spec.label_names.append("")), r"label_names must be distinct and not empty"),
    "control outside the latent": (
        edited(lambda spec: spec.latent.controls.add(name="c0", index=4, low=-1, high=1)),
        r"latent\.controls has 'c0' with index 4; expected 0 to 3",
    ),
    "control twice": (
        edited(lambda spec: [spec.latent.controls.add(name=name, index=1, high=1) for name in ("c0", "c1")]),
        r"latent\.controls has 'c1' with index 1; names and indices must be distinct",
    ),
    "control without a range": (
        edited(lambda spec: spec.latent.controls.add(name="c0", index=1)),
        r"latent\.controls has 'c0' with the range 0 to 0; expected low below high",
    ),
    "control without a name": (
        edited(lambda spec: spec.latent.controls.add(name="c=0", index=1, high=1)),
        r"latent\.controls has 'c=0'; a control's name is",
    ),
    "critic without the labels that it takes": (
        edited(lambda spec: (setattr(spec.score, "label_free", True), one_intercept(spec))),
        r"critic\.onnx has the inputs \['labels', 'samples'\]; expected samples uint8",
    ),
    "path": (
        edited(lambda spec: setattr(spec.files[0], "name", "../1/critic.onnx")),
        r"files names '\.\./1/critic\.onnx'; .*own folder",
    ),
    "file twice": (edited(lambda spec: spec.files.append(spec.files[0])), r"files names 'critic\.onnx' twice"),
    "digest malformed": (
        edited(lambda spec: setattr(spec.files[0], "sha256", spec.files[0].sha256.upper())),
        r"not 64 lower-case hexadecimal digits",
    ),
    "file missing": (lambda folder: folder.joinpath("critic.onnx").unlink(), r"critic\.onnx is missing"),
    "corrupt": (corrupt, r"generator\.onnx has the SHA-256 [0-9a-f]{64}, the manifest says"),
    "truncated": (truncate, r"critic\.onnx has \d+ bytes, the manifest says \d+"),
    "link": (link_outside, r"generator\.onnx is a link to .*outside\.onnx, outside the package"),
    "graph not listed": (
        setting("generator.file", "absent.onnx"),
        r"generator\.file is 'absent\.onnx', which is not among the manifest's files",
    ),
    "graph outside": (setting("critic.file", "../critic.onnx"), r"critic\.file is '\.\./critic\.onnx'"),
    "labels that the graph has not": (
        edited(lambda spec: (spec.ClearField("label_names"), one_intercept(spec))),
        r"generator\.onnx has the inputs \['labels', 'latents'\]; expected latents float32 \[N, 4\]",
    ),
    "other opset": (setting("generator.opset", 19), r"generator\.opset is 19, and generator\.onnx has opset \d+"),
    "other precision": (
        setting("critic.precision", model_spec_pb2.PRECISION_FLOAT16),
        r"critic\.precision is PRECISION_FLOAT16, and most weights of critic\.onnx are float32",
    ),
    "calibration without intercepts": (
        edited(lambda spec: spec.score.calibration.ClearField("intercepts")),
        r"score\.calibration has 0 intercepts; expected \d: one for each label",
    ),
    "calibration that is no number": (
        setting("score.calibration.slope", math.nan),
        r"score\.calibration has numbers that are not finite",
    ),
    "calibration of another graph": (
        edited(lambda spec: setattr(spec.score.calibration, "slope", spec.score.calibration.slope + 7)),
        r"score\.calibration gives log-odds that differ by .* of critic\.onnx",
    ),
    "calibration beyond all numbers": (
        setting("score.calibration.slope", 1e308),
        r"score\.calibration gives log-odds that differ by",
    ),
    "manifest outside": (
        lambda folder: (
            folder.joinpath("manifest.json").rename(folder.parent / "outside.json"),
            folder.joinpath("manifest.json").symlink_to(folder.parent / "outside.json"),
        ),
        r"manifest\.json is a link to .*outside\.json, outside the package",
    ),
    "manifest that is a pipe": (
        lambda folder: (folder.joinpath("manifest.json").unlink(), os.mkfifo(folder / "manifest.json")),
        r"manifest\.json cannot be read: it is no file",
    ),
    "other latents": (
        setting("latent.dimension", 5),
        r"input latents is tensor\(float\) \['N', 4\]; expected latents float32 \[N, 5\]",
    ),
    "other sample": (
        edited(lambda spec: spec.sample.shape.__setitem__(0, 16)),
        r"output samples is .*8, 8, 1\]; expected samples uint8 \[N, 16, 8, 1\]",
    ),
    "swapped graphs": (
        edited(lambda spec: setattr(spec.generator, "file", "critic.onnx")),
        r"critic\.onnx has the inputs \['labels', 'samples'\]",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_package_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    spoil, reason = BROKEN[kind]
    folder = build_tiny_package(tmp_path)
    load(folder)
    spoil(folder)
    with pytest.raises(PackageError, match=reason):
        load(folder)


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
    # Columns that the latents do not have: fine to load, an error to run.
    graph = generator_graph(UNCONDITIONAL)
    columns = next(tensor for tensor in graph.graph.initializer if tensor.name == "columns")
    columns.CopyFrom(numpy_helper.from_array(np.full(64, 99), "columns"))
    return graph


def looking_across_its_batch() -> onnx.ModelProto:
    # Subtracts the batch's mean from each latent, as batch normalisation in training mode does.
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
            r"trial run with 1 samples failed: generator\.onnx gave samples as uint8 \[2, 8, 8, 1\]; expected",
        ),
        (VECTOR, {"generator.onnx": dividing_by_zero()}, r"gave samples that is not finite"),
        (UNCONDITIONAL, {"generator.onnx": failing_when_run()}, r"trial run with 1 samples failed: generator\.onnx"),
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
def test_a_graph_that_is_not_what_it_should_be_is_refused(
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


def test_more_labels_than_a_graph_knows_are_refused_however_many_they_are(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny", 1, model=TinyModel(label_names=tuple(f"label {i}" for i in range(7))))
    load(tmp_path / "tiny" / "1")
    more = edited(lambda spec: (spec.label_names.append("one too many"), spec.score.calibration.intercepts.append(0)))
    more(tmp_path / "tiny" / "1")
    with pytest.raises(PackageError, match="trial run with 1 samples failed"):
        load(tmp_path / "tiny" / "1")


@pytest.mark.parametrize("place", [in_a_constant, in_a_branch, in_a_function, as_sparse_values])
def test_weights_outside_a_graphs_file_are_refused_wherever_they_are(
    tmp_path: Path, place: Callable[[TensorProto], onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    # onnxruntime would find them in the folder that the process works in.
    monkeypatch.chdir(tmp_path)
    inside = numpy_helper.from_array(np.ones(2, np.float32), "weights")
    outside = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="weights.bin")
    tmp_path.joinpath("weights.bin").write_bytes(np.ones(2, np.float32).tobytes())
    for version, tensor in enumerate([inside, outside], start=1):
        write_package(tmp_path, "tiny", version, model=VECTOR, graphs={"generator.onnx": place(tensor)})
    assert read_package(tmp_path / "tiny" / "1").generator
    with pytest.raises(PackageError, match=r"generator\.onnx keeps weights in other files.*save it whole"):
        read_package(tmp_path / "tiny" / "2")


@given(st.data())
def test_no_damage_hides_weights_that_are_elsewhere(data: st.DataObject) -> None:
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
def test_what_a_file_says_of_itself_is_what_onnx_reads(data: st.DataObject) -> None:
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
    assert opset_of(content[:-1] + b"\xff") in (None, model.opset_import[1].version)  # whatever is in it: no error


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\b", "/etc/passwd", "c:x", "a\0b"])
def test_file_names_with_a_path_are_no_file_names(name: str) -> None:
    assert not is_plain_file_name(name)
    assert is_plain_file_name("generator.onnx")


def test_the_repository_ignores_what_is_no_package(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)
    tmp_path.joinpath(".digits-being-written", "1").mkdir(parents=True)
    tmp_path.joinpath("tiny", ".3.tmp").mkdir()
    tmp_path.joinpath("tiny", "latest").mkdir()
    tmp_path.joinpath("tiny", "007").mkdir()
    tmp_path.joinpath("empty").mkdir()
    tmp_path.joinpath("README.md").write_text("…")
    repository = Repository(tmp_path, ENGINE, BATCH)
    repository.load()
    (summary,) = repository.summaries()
    repository.close()
    assert [version.version for version in summary.versions] == [1]
    assert len(repository.ignored) == 3
    assert "latest: a version's folder is named by a positive integer" in repository.ignored[2]


def test_a_model_with_a_bad_name_is_refused(tmp_path: Path) -> None:
    folder = build_tiny_package(tmp_path, "Tiny Model")
    with pytest.raises(PackageError, match=r"folder is named 'Tiny Model'; a model's name has 1 to 128 characters"):
        load(folder)


def test_broken_versions_are_listed_as_failed_while_the_others_serve(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny", 1)
    corrupt(build_tiny_package(tmp_path, "tiny", 2))
    corrupt(build_tiny_package(tmp_path, "wholly-broken", 1))
    with running_server(tmp_path) as server, connected(server.address) as stubs:
        tiny, broken = stubs.gan.ListModels(gan_service_pb2.ListModelsRequest()).models
        assert [version.state for version in tiny.versions] == [
            gan_service_pb2.MODEL_STATE_READY,
            gan_service_pb2.MODEL_STATE_FAILED,
        ]
        assert "SHA-256" in tiny.versions[1].reason
        assert not tiny.versions[1].HasField("sample")
        assert (tiny.latest, broken.latest) == (1, 0)
        assert stubs.sample(model="tiny", count=1).version == 1
        assert stubs.sample(count=1).model == "tiny", "the only model that is served"
        assert "FAILED   tiny version 2: generator.onnx has the SHA-256" in server.log
