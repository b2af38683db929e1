"""Refuse ONNX files that cannot be served or are ambiguous, in one line that says what to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from foreign_graphs import (
    FLOAT,
    FLOAT16,
    INT64,
    Dcgan,
    Z,
    export,
    flat_critic,
    flat_generator,
    node,
    save,
    tanh_nchw,
    weight,
)
from ganserve_export import ExportError, OnnxOptions, package_onnx
from ganserve_export.commands import package as package_command

if TYPE_CHECKING:
    from pathlib import Path

AB = ("a", "b")
NCHW = {"range": "-1..1", "layout": "nchw"}


def refused(tmp_path: Path, reason: str, generator: Path, critic: Path | None = None, **options: Any) -> None:
    with pytest.raises(ExportError, match=reason) as caught:
        package_onnx(generator, critic, tmp_path / "models" / "x", OnnxOptions(**options))
    assert "\n" not in str(caught.value)
    models = tmp_path / "models" / "x"
    assert not models.exists() or not list(models.iterdir())


def test_statistics_across_the_batch(tmp_path: Path) -> None:
    generator = tanh_nchw(tmp_path / "fine.onnx")
    norm = [
        helper.make_node(
            "BatchNormalization", ["flat", "one", "zero", "mean", "var"], ["b", "m", "v"], training_mode=1
        ),
        node("Tanh", "b", "t"),
        node("Reshape", "t shape", "img"),
    ]
    ones, zeros = np.ones(48, np.float32), np.zeros(48, np.float32)
    constants = {"shape": np.array([-1, 3, 4, 4]), "one": ones, "zero": zeros, "mean": zeros, "var": ones}
    file = flat_generator(tmp_path / "g.onnx", norm, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    refused(tmp_path, r"generator g\.onnx mixes its samples: .* export it in eval mode \(model\.eval", file, **NCHW)

    nodes = [
        node("ReduceMean", "x", "values", axes=[1, 2, 3], keepdims=0),
        node("ReduceMean", "values", "mean", axes=[0], keepdims=1),
        node("Sub", "values mean", "s"),
    ]
    critic = save(tmp_path / "c.onnx", nodes, {"x": (FLOAT, ["n", 3, 4, 4])}, {"s": (FLOAT, ["n"])})
    refused(tmp_path, r"critic c\.onnx mixes its samples: .* or package the generator alone", generator, critic, **NCHW)


def test_random_operators(tmp_path: Path) -> None:
    constants = {"shape": np.array([-1, 3, 4, 4]), "big": np.float32(1e9)}
    drawn = helper.make_graph([node("RandomNormalLike", "flat", "r")], "drawn", [], [helper.make_tensor_value_info(
        "r", FLOAT, None)])  # fmt: skip
    rest = helper.make_graph([node("Identity", "flat", "q")], "rest", [], [helper.make_tensor_value_info(
        "q", FLOAT, None)])  # fmt: skip
    tail = [
        node("ReduceMax", "z", "most", keepdims=0), node("Greater", "most big", "never"),
        node("If", "never", "a", then_branch=drawn, else_branch=rest), node("Reshape", "a shape", "img"),
    ]  # fmt: skip
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    refused(tmp_path, r"\(RandomNormalLike, r\) in a branch or loop that trial runs skip", file, **NCHW)
    tail = [
        node("Multinomial", "flat", "n", sample_size=48), node("Cast", "n", "a", to=FLOAT),
        node("Reshape", "a shape", "img"),
    ]  # fmt: skip
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    refused(tmp_path, r"\(Multinomial\)", file, **NCHW)


def two_inputs(file: Path, other: tuple[int, list[Any]], name: str = "other") -> Path:
    nodes = [
        node("MatMul", "z w", "flat"), node("Cast", name, "c", to=FLOAT), node("ReduceSum", "c", "sum", keepdims=0),
        node("Mul", "sum nought", "m"), node("Add", "flat m", "a"), node("Tanh", "a", "t"),
        node("Reshape", "t shape", "img"),
    ]  # fmt: skip
    constants = {"w": weight(Z, 48), "shape": np.array([-1, 3, 4, 4]), "nought": np.float32(0)}
    return save(file, nodes, {"z": (FLOAT, ["n", Z]), name: other}, {"img": (FLOAT, ["n", 3, 4, 4])}, constants)


@pytest.mark.parametrize(
    ("other", "options", "reason"),
    [
        ((FLOAT, ["n", Z]), {}, r"2 inputs that could be its latents: z .*, other .* Say which: --latents NAME"),
        ((FLOAT, ["n", Z]), {"latents": "z"}, r"takes other .* beside z float32 \[n, 6\]: if these are labels"),
        ((FLOAT, ["n", 1, 4, 4]), {"latents": "z", "label_names": AB}, r"no input for 2 labels .* takes other float32"),
        ((FLOAT, ["n", 2]), {"latents": "nothing"}, r"--latents nothing: the generator g\.onnx has no such tensor"),
        ((INT64, ["n"]), {}, r"takes other int64 \[n\] beside z .*: if these are labels, name them with --labels"),
        ((INT64, ["n", 5]), {"label_names": AB}, r"takes labels as other int64 \[n, 5\]; expected integers .*\[N, 2\]"),
        ((FLOAT, [4, 3]), {"latents": "z"}, r"takes other float32 \[4, 3\] beside z"),
        ((INT64, None), {"label_names": AB}, r"declares no shape with a batch axis for other"),
        ((INT64, ["n"]), {"latents": "other", "label_names": AB}, r"takes latents as other int64 \[n\]; expected"),
    ],
)  # fmt: skip
def test_ambiguous_or_unknown_inputs(
    tmp_path: Path, other: tuple[int, list[Any]], options: dict[str, Any], reason: str
) -> None:
    refused(tmp_path, reason, two_inputs(tmp_path / "g.onnx", other), **NCHW, **options)


def test_labels_for_a_generator_without_labels(tmp_path: Path) -> None:
    file = tanh_nchw(tmp_path / "g.onnx")
    refused(
        tmp_path,
        r"say where they begin: --labels-at 4 \(at the end\) or --labels-at 0 .* leave --labels out",
        file,
        label_names=AB,
        **NCHW,
    )
    refused(tmp_path, "--labels must be distinct", file, label_names=("a", "a"), **NCHW)


def test_another_number_of_labels_than_the_generator_has(tmp_path: Path) -> None:
    tail = [node("Gather", "table y", "row", axis=0), node("Add", "flat row", "a"), node("Reshape", "a shape", "img")]
    constants = {"table": weight(2, 48), "shape": np.array([-1, 3, 4, 4])}
    inputs = {"z": (FLOAT, ["n", Z]), "y": (INT64, ["n"])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants, inputs=inputs)
    names = (*AB, "c")
    refused(tmp_path, r"if these are labels, name them with --labels \(2 of them, by the graph\)", file, **NCHW)
    refused(tmp_path, "has a table of 2 labels for y .*--labels names 3: name all 2", file, label_names=names, **NCHW)
    tail[0] = node("MatMul", "y table", "row")
    inputs["y"] = (FLOAT, ["n", 2])
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants, inputs=inputs)
    refused(tmp_path, r"takes y .* by its name 2 labels, and --labels names 3: name all 2", file, label_names=names)


@pytest.mark.parametrize(
    ("latents", "reason"),
    [
        (["n", "z"], r"takes latents as z float32 \[n, z\]; expected floats \[N, Z\] with a fixed Z"),
        (["n", 18, 6], r"takes latents as z float32 \[n, 18, 6\].*sequences cannot be served yet; if .*--latents z"),
        (["n", 80, "t"], r"takes latents as z float32 \[n, 80, t\].*spectrograms or sequences cannot be served yet$"),
    ],
)
def test_inputs_that_cannot_be_latents(tmp_path: Path, latents: list[Any], reason: str) -> None:
    file = tanh_nchw(tmp_path / "g.onnx", inputs={"z": (FLOAT, latents)})
    refused(tmp_path, reason, file, **NCHW)


@pytest.mark.parametrize(
    ("factor", "options", "reason"),
    [
        (1.5, {}, r"lie between -\S+ and \S+: say what black and white are .*by these samples, -1\.\.1\)"),
        (1.0, {"range": "0..1"}, r"\d\d% of their values outside --range 0\.\.1: did you mean --range -1\.\.1\?"),
        (99.0, {"range": "-1..1"}, r"outside --range -1\.\.1: export it with such a range"),
        (0.0, {"range": "0..255"}, r"all black with --range 0\.\.255"),
        (99.0, {"range": "0..255"}, r"outside --range 0\.\.255: export it with such a range"),
    ],
)
def test_ranges(tmp_path: Path, factor: float, options: dict[str, Any], reason: str) -> None:
    tail = [node("Tanh", "flat", "t"), node("Mul", "t factor", "m"), node("Reshape", "m shape", "img")]
    constants = {"shape": np.array([-1, 3, 4, 4]), "factor": np.float32(factor)}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    refused(tmp_path, reason, file, layout="nchw", **options)


def test_images_in_0_to_1_stated_as_0_to_255_are_black(tmp_path: Path) -> None:
    tail = [node("Sigmoid", "flat", "t"), node("Reshape", "t shape", "img")]
    constants = {"shape": np.array([-1, 3, 4, 4])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    refused(tmp_path, "all black with --range 0..255: did you mean --range 0..1", file, range="0..255", layout="nchw")


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ([3, 4, 4], {}, r"gives \[N, 3, 4, 4\]: say which axis is the channels with --layout"),
        ([6, 8], {}, r"gives float32 \[N, 6, 8\] as img; expected images"),
        ([6, 2, 4], {"layout": "nchw"}, r"gives \[N, 6, 2, 4\]; expected images of 1 to 4 channels.*\(--layout nchw\)"),
        ([48], {"range": "-1..1"}, "--range -1..1: the generator g.onnx makes vectors of 48 values"),
    ],
)
def test_outputs_that_cannot_be_samples(tmp_path: Path, shape: list[int], options: dict[str, Any], reason: str) -> None:
    tail = [node("Tanh", "flat", "t"), node("Reshape", "t shape", "img")]
    file = flat_generator(
        tmp_path / "g.onnx", tail, (FLOAT, ["n", *shape]), constants={"shape": np.array([-1, *shape])}
    )
    refused(tmp_path, reason, file, **options)


def test_two_outputs(tmp_path: Path) -> None:
    nodes = [node("MatMul", "z w", "flat"), node("Reshape", "flat shape", "a"), node("Neg", "a", "b")]
    outputs = {"a": (FLOAT, ["n", 3, 4, 4]), "b": (FLOAT, ["n", 3, 4, 4])}
    constants = {"w": weight(Z, 48), "shape": np.array([-1, 3, 4, 4])}
    file = save(tmp_path / "g.onnx", nodes, {"z": (FLOAT, ["n", Z])}, outputs, constants)
    refused(tmp_path, r"2 outputs that could be its samples: a .*, b .*\. Say which: --output NAME", file, **NCHW)
    refused(tmp_path, r"--output c: the generator g\.onnx has no such tensor", file, output="c", **NCHW)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin", "."])
def test_weights_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(4 * Z * 48))
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    model = onnx.load(tanh_nchw(folder / "g.onnx"))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "g.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path, f"takes weights from '{location}', outside its own folder", folder / "g.onnx", **NCHW)


def test_weights_that_are_missing_or_short(tmp_path: Path) -> None:
    file = export(Dcgan().eval(), tmp_path / "g.onnx", torch.randn(2, Z, 1, 1), external_data=True)
    os.truncate(tmp_path / "g.onnx.data", 100)
    refused(tmp_path, "the weights beside .* cannot be read|cannot load", file, range="-1..1")
    (tmp_path / "g.onnx.data").unlink()
    refused(tmp_path, r"takes weights from 'g\.onnx\.data', which does not exist", file, range="-1..1")


def test_files_that_are_not_onnx(tmp_path: Path) -> None:
    refused(tmp_path, "cannot be read: No such file", tmp_path / "none.onnx")
    for content in (b"", b"nothing", os.urandom(1000)):
        (tmp_path / "g.onnx").write_bytes(content)
        refused(tmp_path, "is not an ONNX file", tmp_path / "g.onnx")
    whole = tanh_nchw(tmp_path / "g.onnx").read_bytes()
    (tmp_path / "g.onnx").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, "is not an ONNX file, or only part of one", tmp_path / "g.onnx")
    with (tmp_path / "g.onnx").open("wb") as stream:
        stream.truncate(2**31 + 5)
    refused(tmp_path, "one file of less than 2 GiB", tmp_path / "g.onnx")


def test_unknown_operators(tmp_path: Path) -> None:
    tail = [helper.make_node("Swirl", ["flat"], ["s"], domain="acme.ops"), node("Reshape", "s shape", "img")]
    constants = {"shape": np.array([-1, 3, 4, 4])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants, domains=["acme.ops"])
    refused(tmp_path, r"has operations that onnxruntime \S+ does not know: acme\.ops::Swirl", file, **NCHW)
    file = flat_generator(tmp_path / "g.onnx", [node("Nonsense", "flat", "img")], (FLOAT, ["n", 48]))
    refused(tmp_path, r"onnxruntime \S+ cannot load the generator g\.onnx: .*Nonsense", file)


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        (
            (3, 8, 8),
            {},
            r"has no input that could be its samples of shape \[4, 4, 3\]: it has x float32 \[n, 3, 8, 8\]",
        ),
        ((3, 8, 8), {"critic_samples": "x"}, r"takes samples as x float32 .*; expected \[N, C, H, W\] or"),
        ((3, 4, 4), {"critic_samples": "y"}, r"--critic-samples y: the critic c\.onnx has no such tensor"),
        ((3, 4, 4), {"critic_output": "probability"}, r"which are not probabilities. Use --critic-output score"),
    ],
)
def test_critics_that_do_not_fit(tmp_path: Path, shape: Any, options: dict[str, Any], reason: str) -> None:
    generator = tanh_nchw(tmp_path / "g.onnx")
    refused(tmp_path, reason, generator, flat_critic(tmp_path / "c.onnx", shape), **NCHW, **options)


def test_a_patch_critic_and_a_critic_with_labels(tmp_path: Path) -> None:
    generator = tanh_nchw(tmp_path / "g.onnx")
    nodes = [node("ReduceMean", "x", "patches", axes=[1])]
    outputs = {"patches": (FLOAT, ["n", 1, 4, 4])}
    critic = save(tmp_path / "c.onnx", nodes, {"x": (FLOAT, ["n", 3, 4, 4])}, outputs)
    refused(
        tmp_path, r"gives float32 \[64, 1, 4, 4\] for 64 samples as patches; expected one", generator, critic, **NCHW
    )
    nodes = [node("ReduceMean", "x", "s", axes=[1, 2, 3], keepdims=0), node("Identity", "y", "same")]
    inputs = {"x": (FLOAT, ["n", 3, 4, 4]), "y": (INT64, ["n"])}
    critic = save(tmp_path / "c.onnx", nodes, inputs, {"s": (FLOAT, ["n"]), "same": (INT64, ["n"])})
    refused(tmp_path, r"critic c\.onnx takes y int64 \[n\] beside x .*: if these are labels", generator, critic, **NCHW)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    tail = [node("Log", "flat", "l"), node("Reshape", "l shape", "img")]
    constants = {"shape": np.array([-1, 3, 4, 4])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    refused(tmp_path, "gives values that are not finite", file, **NCHW)


def test_critic_options_without_a_critic(tmp_path: Path) -> None:
    file = tanh_nchw(tmp_path / "g.onnx")
    for name, value in (("data", "digits"), ("critic_scores", "s"), ("score_higher", "generated")):
        refused(tmp_path, f"--{name.replace('_', '-')} {value}: there is no critic", file, **NCHW, **{name: value})


def test_data_that_do_not_suit_the_generator(tmp_path: Path) -> None:
    generator, critic = tanh_nchw(tmp_path / "g.onnx"), flat_critic(tmp_path / "c.onnx")
    refused(
        tmp_path, r"samples of shape \[4, 4, 3\], the data have \[8, 8, 1\]", generator, critic, data="digits", **NCHW
    )
    refused(
        tmp_path, "--data nowhere: neither a file or folder nor a source", generator, critic, data="nowhere", **NCHW
    )


def test_the_command_reports_an_error_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = two_inputs(tmp_path / "g.onnx", (FLOAT16, ["n", Z]))
    out = ("--range", "-1..1", "--out", str(tmp_path / "models" / "x"))
    assert package_command.main([str(file), *out]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("ganserve package: error: the generator g.onnx has 2 inputs that could be its latents")
    assert said.err.count("\n") == 1
    # onnxruntime prints nothing.
    tail = [node("Reshape", "flat shape", "img")]
    broken = flat_generator(
        tmp_path / "b.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants={"shape": np.array([1, 3, 4, 4])}
    )
    assert package_command.main([str(broken), *out]) == 1
    assert capfd.readouterr().err.count("\n") == 1
    assert package_command.main([str(file), "--range", "0..2", *out[2:]]) == 2
    said = capfd.readouterr()
    assert said.err.startswith("ganserve package: error: --range 0..2: not a choice. Give one of -1..1, 0..1, 0..255.")
    assert said.err.count("\n") == 1
    assert package_command.main([str(tmp_path / "none.onnx"), *out]) == 2


def test_labels_are_read(tmp_path: Path) -> None:
    read = package_command.read_labels
    assert read("cat, dog,été") == ("cat", "dog", "été")
    file = tmp_path / "labels.txt"
    file.write_text("cat\nhot dog, grilled\nété\n\n", encoding="utf-8")
    assert read(str(file)) == ("cat", "hot dog, grilled", "été")
    for text, reason in (
        ("a,b,a", "'a' occurs twice"),
        ("a,,b", "a name is empty"),
        ("nowhere.txt", "is neither names"),
    ):
        with pytest.raises(ExportError, match=reason):
            read(text)
