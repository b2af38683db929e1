"""Package generators with controls, constants, noise, joined latents and labels inside them. N = batch, Z = latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper

from foreign_graphs import FLOAT, INT64, Z, flat_generator, node, save, tanh_nchw, weight
from foreign_packages import ABC, LABELS, LATENTS, NCHW, assert_same_pixels, levels, manifest, run, wrap
from ganserve import Client
from ganserve_export import ExportError
from ganserve_export.from_onnx.noise import NoiseInput, draw_noise

if TYPE_CHECKING:
    from pathlib import Path

TAIL = [node("Tanh", "sum", "t"), node("Reshape", "t shape", "img")]
SHAPE = {"w": weight(Z, 48), "shape": np.array([-1, 3, 4, 4])}
IMAGE = {"img": (FLOAT, ["n", 3, 4, 4])}


def scaled_by(file: Path, shape: list[int | str]) -> Path:
    """Write a generator whose image is tanh(psi * z w)."""
    nodes = [node("MatMul", "z w", "flat"), node("Mul", "flat psi", "sum"), *TAIL]
    first = 1 if shape in ([], [1]) else "n"
    constants = SHAPE | {"shape": np.array([-1 if first == "n" else 1, 3, 4, 4])}
    return save(file, nodes, {"z": (FLOAT, [first, Z]), "psi": (FLOAT, shape)}, IMAGE, constants)


@pytest.mark.parametrize("shape", [["n", 1], [], [1]])
def test_a_control_with_a_default(tmp_path: Path, shape: list[int | str]) -> None:
    packaged = wrap(tmp_path, scaled_by(tmp_path / "g.onnx", shape), control=("psi=0..2:0.5",), **NCHW)
    latent = manifest(packaged).latent
    (control,) = latent.controls
    assert (control.name, control.index, control.low, control.high, control.default) == ("psi", Z, 0.0, 2.0, 0.5)
    assert latent.dimension == Z + 1
    psi = np.linspace(0, 2, 9, dtype=np.float32)[:, None]
    (samples,) = run(packaged, latents=np.concatenate([LATENTS, psi], axis=1))
    assert_same_pixels(samples, levels(np.tanh(psi * (LATENTS @ weight(Z, 48))).reshape(-1, 3, 4, 4)))


@pytest.mark.parametrize("shape", [["n", 1], [], [1]])
def test_a_single_value_is_no_latent_but_asked_about(tmp_path: Path, shape: list[int | str]) -> None:
    with pytest.raises(ExportError, match=r"takes psi .* beside z .*--control NAME=LOW\.\.HIGH, --constant"):
        wrap(tmp_path, scaled_by(tmp_path / "g.onnx", shape), **NCHW)


def truncated_by(file: Path, shape: list[int | str], *, labels: bool = False) -> Path:
    """Write a generator whose image is tanh(w_avg + psi * (z w - w_avg)), plus label / 4."""
    nodes = [
        node("MatMul", "z w", "flat"),
        node("Sub", "flat w_avg", "distance"),
        node("Mul", "distance psi", "nearer"),
        node("Add", "nearer w_avg", "near" if labels else "sum"),
    ]
    constants = SHAPE | {"w_avg": weight(1, 48, seed=5) / 4}
    first = 1 if shape in ([], [1]) else "n"
    constants["shape"] = np.array([-1 if first == "n" else 1, 3, 4, 4])
    inputs = {"z": (FLOAT, [first, Z]), "psi": (FLOAT, shape)}
    if labels:
        constants |= {"table": np.arange(3, dtype=np.float32)[:, None] / 4}
        nodes += [node("Gather", "table y", "bonus"), node("Add", "near bonus", "sum")]
        inputs["y"] = (INT64, [first])
    return save(file, [*nodes, *TAIL], inputs, IMAGE, constants)


def truncated(psi: float, bonus: float = 0.0) -> np.ndarray:
    mean = weight(1, 48, seed=5) / 4
    return levels(np.tanh(mean + psi * (LATENTS @ weight(Z, 48) - mean) + np.float32(bonus)).reshape(-1, 3, 4, 4))


@pytest.mark.parametrize("shape", [["n", 1], ["n"], [], [1]])
def test_psi_is_the_model_s_truncation(tmp_path: Path, shape: list[int | str]) -> None:
    packaged = wrap(tmp_path, truncated_by(tmp_path / "g.onnx", shape), truncation_input="psi=0.7", **NCHW)
    spec = manifest(packaged)
    assert (spec.style.layers, spec.style.w_dimension, spec.style.default_truncation) == (1, 0, 0.7)
    assert (spec.latent.dimension, spec.latent.truncation_absence, len(spec.latent.controls)) == (Z, "", 0)
    for psi in (0.0, 0.5, 1.0):
        rows = np.full((len(LATENTS), 1), psi, np.float32)
        assert_same_pixels(run(packaged, latents=LATENTS, psi=rows)[0], truncated(psi))


def test_psi_of_each_layer_and_labels_served(tmp_path: Path) -> None:
    file = truncated_by(tmp_path / "g.onnx", ["n", 48], labels=True)
    packaged = wrap(tmp_path, file, truncation_input="psi", label_names=ABC, **NCHW)
    assert (manifest(packaged).style.layers, manifest(packaged).style.default_truncation) == (48, 1.0)
    with Client.local(packaged.folder.parents[1]) as client:
        batch = client.sample(9, 2, seed=1, return_latents=True, truncation=0.25, truncation_layers=16)
        mean, w = weight(1, 48, seed=5) / 4, batch.latents @ weight(Z, 48)
        psi = np.where(np.arange(48) < 16, np.float32(0.25), np.float32(1))
        expected = levels(np.tanh(mean + psi * (w - mean) + np.float32(0.5)).reshape(-1, 3, 4, 4))
        assert_same_pixels(batch.samples, expected)
        still = client.sample(9, 2, seed=1, truncation=0)
        assert np.ptp(still.samples.astype(int), axis=0).max() == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("phi", r"--truncation-input phi: the generator g\.onnx has no such input"),
        ("psi=2", "--truncation-input psi=2: '2' is not 0 to 1"),
        ("psi=x", "--truncation-input psi=x: 'x' is not 0 to 1"),
    ],
)
def test_wrong_inputs_for_psi(tmp_path: Path, given: str, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        wrap(tmp_path, truncated_by(tmp_path / "g.onnx", ["n", 1]), truncation_input=given, **NCHW)


def test_an_input_has_one_role(tmp_path: Path) -> None:
    file = truncated_by(tmp_path / "g.onnx", ["n", 1])
    with pytest.raises(ExportError, match="--truncation-input psi: this is a control or noise already"):
        wrap(tmp_path, file, truncation_input="psi", control=("psi=0..1",), **NCHW)


def test_an_input_that_truncates_nothing(tmp_path: Path) -> None:
    nodes = [node("MatMul", "z w", "flat"), node("Add", "flat psi", "sum"), *TAIL]
    inputs = {"z": (FLOAT, ["n", Z]), "psi": (FLOAT, ["n", 1])}
    with pytest.raises(ExportError, match=r"--truncation-input psi: samples vary by .* so it does not truncate"):
        wrap(tmp_path, save(tmp_path / "g.onnx", nodes, inputs, IMAGE, SHAPE), truncation_input="psi", **NCHW)


def test_a_constant(tmp_path: Path) -> None:
    packaged = wrap(tmp_path, scaled_by(tmp_path / "g.onnx", []), constant=("psi=0.5",), **NCHW)
    expected = levels(np.tanh(0.5 * (LATENTS @ weight(Z, 48))).reshape(-1, 3, 4, 4))
    assert_same_pixels(run(packaged, latents=LATENTS)[0], expected)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"latents": "z"}, r"takes psi .*--control NAME=LOW\.\.HIGH, --constant NAME=VALUE"),
        ({"control": ("psi",)}, r"--control psi: expected NAME=LOW\.\.HIGH"),
        ({"control": ("psi=1..0",)}, r"--control psi=1\.\.0: expected LOW below HIGH"),
        ({"control": ("p=0..1",)}, r"--control p=0\.\.1: the generator g\.onnx has no such input"),
        ({"constant": ("p=0",)}, r"--constant p=0: there is no such input"),
        ({"constant": ("psi=a",)}, r"--constant psi=a: expected NAME=VALUE"),
        ({"constant": ("psi=1,2",)}, r"--constant psi=1,2: has 2 values"),
    ],
)
def test_inputs_that_are_unclear(tmp_path: Path, options: dict[str, tuple[str, ...]], reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        wrap(tmp_path, scaled_by(tmp_path / "g.onnx", ["n", 1]), **NCHW, **options)


def test_several_latents_are_joined(tmp_path: Path) -> None:
    nodes = [node("MatMul", "z w", "a"), node("MatMul", "c v", "b"), node("Add", "a b", "sum"), *TAIL]
    constants = SHAPE | {"v": weight(2, 48, seed=7)}
    inputs = {"z": (FLOAT, ["n", Z]), "c": (FLOAT, ["n", 2])}
    packaged = wrap(tmp_path, save(tmp_path / "g.onnx", nodes, inputs, IMAGE, constants), latents="c,z", **NCHW)
    codes = LATENTS[:, :2] * 0.7
    (samples,) = run(packaged, latents=np.concatenate([codes, LATENTS], axis=1))
    expected = np.tanh(LATENTS @ weight(Z, 48) + codes @ weight(2, 48, seed=7)).reshape(-1, 3, 4, 4)
    assert_same_pixels(samples, levels(expected))


@pytest.mark.parametrize("place", [0, 2, 3])
def test_one_hot_labels_inside_the_latents(tmp_path: Path, place: int) -> None:
    packaged = wrap(tmp_path, tanh_nchw(tmp_path / "g.onnx"), label_names=ABC, labels_at=place, **NCHW)
    drawn = LATENTS[:, :3]
    whole = np.concatenate([drawn[:, :place], np.eye(3, dtype=np.float32)[LABELS], drawn[:, place:]], axis=1)
    (samples,) = run(packaged, latents=drawn, labels=LABELS)
    assert_same_pixels(samples, levels(np.tanh(whole @ weight(Z, 48)).reshape(-1, 3, 4, 4)))
    with pytest.raises(ExportError, match=r"--labels-at 4: the latents have 6 values; expected 0 to 3"):
        wrap(tmp_path, tanh_nchw(tmp_path / "g.onnx"), label_names=ABC, labels_at=4, **NCHW)


def with_labels_inside(file: Path, how: str, input_name: str = "z") -> Path:
    """Write a generator whose last three latents are strong, or are taken apart from the others."""
    loud = weight(Z, 48)
    if how == "strong":
        loud[3:] *= 6
    nodes = [node("MatMul", f"{input_name} w", "sum"), *TAIL]
    if how == "apart":
        nodes = [
            helper.make_node("Split", [input_name, "sizes"], ["rest", "label"], axis=1),
            node("MatMul", "rest first", "a"), node("MatMul", "label last", "b"), node("Add", "a b", "sum"), *TAIL,
        ]  # fmt: skip
    parts = {"sizes": np.array([4, 2]), "first": loud[:4], "last": loud[4:]}
    constants = SHAPE | ({"w": loud} if how != "apart" else parts)
    return save(file, nodes, {input_name: (FLOAT, ["n", Z])}, IMAGE, constants)


def test_the_place_of_labels_inside_the_latents_is_found(tmp_path: Path) -> None:
    strong = with_labels_inside(tmp_path / "g.onnx", "strong")
    packaged = wrap(tmp_path, strong, label_names=ABC, **NCHW)
    assert "labels one-hot at 3 of them (which change samples the most)" in packaged.generator_is
    (samples,) = run(packaged, latents=LATENTS[:, :3], labels=LABELS)
    whole = np.concatenate([LATENTS[:, :3], 6 * np.eye(3, dtype=np.float32)[LABELS]], axis=1)
    assert_same_pixels(samples, levels(np.tanh(whole @ weight(Z, 48)).reshape(-1, 3, 4, 4)))
    with pytest.raises(ExportError, match=r"the last 3 values of the latents of .* add --labels with 3 names"):
        wrap(tmp_path, strong, **NCHW)
    assert not manifest(wrap(tmp_path, strong, latents="z", **NCHW)).label_names
    apart = wrap(tmp_path, with_labels_inside(tmp_path / "g.onnx", "apart"), label_names=ABC[:2], **NCHW)
    assert "labels one-hot at 4 of them (which the graph takes apart)" in apart.generator_is
    named = with_labels_inside(tmp_path / "g.onnx", "", "label_and_noise")
    assert (
        "labels one-hot at 0 of them (by the input's name)"
        in wrap(tmp_path, named, label_names=ABC, **NCHW).generator_is
    )


def test_all_questions_come_with_that_about_the_place_of_labels(tmp_path: Path) -> None:
    file = tanh_nchw(tmp_path / "g.onnx", (3, 4, 3))
    with pytest.raises(
        ExportError, match=r"2 things are unclear: .*--labels-at 4 \(at the end\).* --layout nchw or nhwc"
    ):
        wrap(tmp_path, file, label_names=ABC[:2])


def test_inputs_called_latents_are_joined(tmp_path: Path) -> None:
    nodes = [node("MatMul", "z_form w", "a"), node("MatMul", "z_motion v", "b"), node("Add", "a b", "sum"), *TAIL]
    inputs = {"z_form": (FLOAT, ["n", Z]), "z_motion": (FLOAT, ["n", 2])}
    packaged = wrap(tmp_path, save(tmp_path / "g.onnx", nodes, inputs, IMAGE, SHAPE | {"v": weight(2, 48, 7)}), **NCHW)
    assert manifest(packaged).latent.dimension == Z + 2


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_noise_is_standard_and_differs_by_sample_and_stream(kind: str) -> None:
    latents = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    first, second = (
        draw_noise(latents, NoiseInput(name="n", distribution=kind), (1, 16, 16), "seeded", stream).reshape(300, -1)
        for stream in (0, 1)
    )
    mean, deviation = (0.0, 1.0) if kind == "normal" else (0.5, 12**-0.5)
    assert abs(first.mean() - mean) < 0.01
    assert abs(first.std() - deviation) < 0.01
    # Neither samples, nor pixels, nor streams have anything in common.
    for a, b in ((first[:-1], first[1:]), (first[:, :-1], first[:, 1:]), (first, second)):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("operation", ["RandomNormalLike", "RandomNormal", "RandomUniform"])
@pytest.mark.parametrize("mode", ["seeded", "constant", "none"])
def test_nodes_that_draw_become_noise_of_the_latents(tmp_path: Path, operation: str, mode: str) -> None:
    if operation == "RandomNormalLike":
        drawing = helper.make_node(operation, ["flat"], ["drawn"])
    else:
        drawing = helper.make_node(operation, [], ["drawn"], shape=[1, 48])
    nodes = [drawing, node("Mul", "drawn half", "noise"), node("Add", "flat noise", "sum"), *TAIL]
    constants = {"shape": np.array([-1, 3, 4, 4]), "half": np.float32(0.3)}
    file = flat_generator(tmp_path / "g.onnx", nodes, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    packaged = wrap(tmp_path, file, noise=mode, **NCHW)
    kind = "uniform" if operation == "RandomUniform" else "normal"
    noise = draw_noise(LATENTS, NoiseInput(name="n", distribution=kind), (48,), mode, 0)
    expected = levels(np.tanh(LATENTS @ weight(Z, 48) + 0.3 * noise).reshape(-1, 3, 4, 4))
    (samples,) = run(packaged, latents=LATENTS)
    assert_same_pixels(samples, expected)
    assert (run(packaged, latents=LATENTS[3:4])[0] == samples[3:4]).all()
    assert f"{mode} noise of 48 values" in packaged.generator_is


def test_inputs_for_noise_are_found(tmp_path: Path) -> None:
    nodes = [node("MatMul", "z w", "flat"), node("Reshape", "flat shape", "x"), node("Add", "x noise0", "sum"), TAIL[0],
        node("Identity", "t", "img")]  # fmt: skip
    inputs = {"z": (FLOAT, [1, Z]), "noise0": (FLOAT, [1, 1, 4, 4])}
    file = save(tmp_path / "g.onnx", nodes, inputs, IMAGE, SHAPE)
    packaged = wrap(tmp_path, file, **NCHW)
    noise = draw_noise(LATENTS, NoiseInput(name="n", distribution="normal"), (1, 4, 4), "seeded", 0)
    expected = levels(np.tanh((LATENTS @ weight(Z, 48)).reshape(-1, 3, 4, 4) + noise))
    assert_same_pixels(run(packaged, latents=LATENTS)[0], expected)


def test_latents_called_noise_beside_labels_are_latents(tmp_path: Path) -> None:
    nodes = [node("Reshape", "noise row", "z"), node("MatMul", "z w", "a"), node("MatMul", "labels v", "b"),
        node("Add", "a b", "sum"), *TAIL]  # fmt: skip
    inputs = {"noise": (FLOAT, ["n", Z, 1, 1]), "labels": (FLOAT, ["n", 3])}
    constants = SHAPE | {"row": np.array([-1, Z]), "v": weight(3, 48, seed=7)}
    packaged = wrap(tmp_path, save(tmp_path / "g.onnx", nodes, inputs, IMAGE, constants), label_names=ABC, **NCHW)
    (samples,) = run(packaged, latents=LATENTS, labels=LABELS)
    expected = np.tanh(LATENTS @ weight(Z, 48) + weight(3, 48, seed=7)[LABELS]).reshape(-1, 3, 4, 4)
    assert_same_pixels(samples, levels(expected))


@pytest.mark.parametrize(("given", "kind"), [("grain=uniform", "uniform"), ("grain", "normal")])
def test_noise_of_a_stated_distribution(tmp_path: Path, given: str, kind: str) -> None:
    nodes = [node("MatMul", "z w", "flat"), node("Add", "flat grain", "sum"), *TAIL]
    inputs = {"z": (FLOAT, ["n", Z]), "grain": (FLOAT, ["n", 48])}
    packaged = wrap(tmp_path, save(tmp_path / "g.onnx", nodes, inputs, IMAGE, SHAPE), noise_input=(given,), **NCHW)
    noise = draw_noise(LATENTS, NoiseInput(name="n", distribution=kind), (48,), "seeded", 0)
    expected = levels(np.tanh(LATENTS @ weight(Z, 48) + noise).reshape(-1, 3, 4, 4))
    assert_same_pixels(run(packaged, latents=LATENTS)[0], expected)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_images_in_one_row(tmp_path: Path, layout: str) -> None:
    file = flat_generator(tmp_path / "g.onnx", [node("Tanh", "flat", "img")], (FLOAT, ["n", 48]))
    with pytest.raises(ExportError, match=r"3 channels in one row: say with --layout"):
        wrap(tmp_path, file, shape="8x2x3")
    with pytest.raises(ExportError, match=r"--shape 8x2x4: has 64 values, and a sample .* has 48"):
        wrap(tmp_path, file, shape="8x2x4")
    packaged = wrap(tmp_path, file, shape="8x2x3", layout=layout)
    values = np.tanh(LATENTS @ weight(Z, 48))
    values = values.reshape(-1, 3, 8, 2) if layout == "nchw" else values.reshape(-1, 8, 2, 3).transpose(0, 3, 1, 2)
    assert_same_pixels(run(packaged, latents=LATENTS)[0], levels(values))


def test_the_image_among_several_outputs(tmp_path: Path) -> None:
    nodes = [node("MatMul", "z w", "flat"), node("Identity", "flat", "sum"), *TAIL]
    outputs = {"flat": (FLOAT, ["n", 48]), **IMAGE}
    packaged = wrap(tmp_path, save(tmp_path / "g.onnx", nodes, {"z": (FLOAT, ["n", Z])}, outputs, SHAPE), **NCHW)
    assert_same_pixels(run(packaged, latents=LATENTS)[0], levels(np.tanh(LATENTS @ weight(Z, 48)).reshape(-1, 3, 4, 4)))


def test_translators_and_sound_are_named(tmp_path: Path) -> None:
    image = {"x": (FLOAT, [1, 3, 16, 16])}
    file = save(tmp_path / "g.onnx", [node("Tanh", "x", "img")], image, {"img": (FLOAT, [1, 3, 16, 16])})
    with pytest.raises(ExportError, match=r"takes images \(x .*it translates images: .*cannot be served yet"):
        wrap(tmp_path, file)
    tail = [node("Reshape", "flat wave", "img")]
    constants = {"wave": np.array([-1, 1, 2048])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 1, 2048]), values=2048, constants=constants)
    with pytest.raises(ExportError, match=r"by its shape sound of 2,048 values: sound cannot be served yet"):
        wrap(tmp_path, file)
