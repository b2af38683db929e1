"""Misread nothing in silence: ranges, probabilities, labels, truncation. N = batch, Z = latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper

from foreign_graphs import FLOAT, Z, flat_critic, flat_generator, node, save, tanh_nchw, weight
from foreign_packages import LATENTS, NCHW, levels, manifest, run, wrap
from ganserve_export import ExportError
from ganserve_export.commands import package as package_command
from ganserve_server.errors import FailedPreconditionError
from ganserve_server.models.manifest_checks import read_model_info
from ganserve_server.requests.findings import Findings
from ganserve_server.requests.style_checks import check_latent_truncation

if TYPE_CHECKING:
    from pathlib import Path


def ending_in(file: Path, nodes: list[object]) -> Path:
    """Write a critic x [N, 3, 4, 4] whose logits `l` [N, 1] go through these nodes to `p`."""
    whole = [node("Reshape", "x flat", "f"), node("MatMul", "f w", "l"), *nodes]
    constants = {"flat": np.array([-1, 48]), "w": weight(48, 1, seed=1), "row": np.array([-1]), "one": np.array([1])}
    return save(file, whole, {"x": (FLOAT, ["n", 3, 4, 4])}, {"p": (FLOAT, None)}, constants)


def branches(value: str) -> list[object]:
    """Return an If whose branches squeeze a value, or leave it, as the older exporter writes squeeze()."""
    graphs = [
        helper.make_graph([inner], out, [], [helper.make_tensor_value_info(out, FLOAT, None)])
        for inner, out in ((node("Squeeze", f"{value} one", "s1"), "s1"), (node("Identity", value, "s2"), "s2"))
    ]
    return [
        node("Shape", "f", "extents"), node("ReduceMin", "extents", "least", keepdims=0),
        node("Greater", "least nought", "yes"), node("If", "yes", "p", then_branch=graphs[0], else_branch=graphs[1]),
    ]  # fmt: skip


@pytest.mark.parametrize("behind", ["if", "reshape", "identity", "squeeze"])
def test_a_sigmoid_is_found_behind_other_operations(tmp_path: Path, behind: str) -> None:
    sigmoid = node("Sigmoid", "l", "q")
    if behind == "if":
        nodes = [sigmoid, node("Sub", "row row", "noughts"), node("ReduceSum", "noughts", "nought", keepdims=0),
            *branches("q")]  # fmt: skip
    else:
        last = {"reshape": ("Reshape", "q row"), "identity": ("Identity", "q"), "squeeze": ("Squeeze", "q one")}[behind]
        nodes = [sigmoid, node(*last, "p")]
    packaged = wrap(tmp_path, tanh_nchw(tmp_path / "g.onnx"), ending_in(tmp_path / "c.onnx", nodes), **NCHW)
    assert "its log odds taken before the sigmoid" in packaged.critic_is
    (samples,) = run(packaged, latents=LATENTS)
    scores, probabilities = run(packaged, "critic.onnx", samples=samples)
    values = samples.transpose(0, 3, 1, 2).reshape(9, -1) / np.float32(127.5) - 1
    np.testing.assert_allclose(scores, values @ weight(48, 1, seed=1)[:, 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-scores)), rtol=1e-4)


def test_outputs_that_may_be_probabilities_are_asked_about(tmp_path: Path) -> None:
    nodes = [node("Sigmoid", "l", "q"), node("Mul", "q q", "p")]
    generator, critic = tanh_nchw(tmp_path / "g.onnx"), ending_in(tmp_path / "c.onnx", nodes)
    with pytest.raises(ExportError, match=r"say whether these are probabilities, with --critic-output"):
        wrap(tmp_path, generator, critic, **NCHW)
    assert "probability" in wrap(tmp_path, generator, critic, critic_output="probability", **NCHW).critic_is


def image(file: Path, nodes: list[object]) -> Path:
    constants = {"shape": np.array([-1, 3, 4, 4]), "half": np.float32(0.5), "top": np.float32(255)}
    return flat_generator(
        file, [*nodes, node("Reshape", "v shape", "img")], (FLOAT, ["n", 3, 4, 4]), constants=constants
    )


SIGMOID = [node("Sigmoid", "flat", "v")]
HALVED = [node("Tanh", "flat", "t"), node("Mul", "t half", "h"), node("Add", "h half", "v")]
BYTES = [node("Sigmoid", "flat", "s"), node("Mul", "s top", "v")]


@pytest.mark.parametrize(
    ("nodes", "stated", "found"),
    [
        (SIGMOID, None, "0..1 by its sigmoid"),
        (HALVED, None, "0..1 by its values"),
        (BYTES, None, "0..255 by its values"),
        (HALVED, "-1..1", r"without one value below 0.*did you mean --range 0\.\.1"),
        (BYTES, "-1..1", r"outside --range -1\.\.1: did you mean --range 0\.\.255"),
        (SIGMOID, "0..255", r"all black with --range 0\.\.255: did you mean --range 0\.\.1"),
    ],
)
def test_ranges_follow_from_the_graph_or_its_values(
    tmp_path: Path, nodes: list[object], stated: str | None, found: str
) -> None:
    file = image(tmp_path / "g.onnx", nodes)
    if stated is None:
        assert found in wrap(tmp_path, file, layout="nchw").generator_is
    else:
        with pytest.raises(ExportError, match=found):
            wrap(tmp_path, file, layout="nchw", range=stated)


def test_a_stated_range_holds_for_a_network_without_bounds(tmp_path: Path) -> None:
    nodes = [node("Sub", "flat half", "s"), node("Mul", "s half", "h"), node("Mul", "h four", "v")]
    tail = [*nodes, node("Reshape", "v shape", "img")]
    constants = {"shape": np.array([-1, 3, 4, 4]), "half": np.float32(0.5), "four": np.float32(3)}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    packaged = wrap(tmp_path, file, layout="nchw", range="-1..1")
    assert "% of the values lie outside, and are clamped)" in packaged.generator_is


def test_all_questions_come_in_one_round(tmp_path: Path) -> None:
    tail = [node("Mul", "flat half", "v"), node("Reshape", "v shape", "img")]
    constants = {"shape": np.array([-1, 3, 4, 4]), "half": np.float32(0.5)}
    generator = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    critic = ending_in(tmp_path / "c.onnx", [node("Sigmoid", "l", "q"), node("Mul", "q q", "p")])
    with pytest.raises(
        ExportError, match=r"3 things are unclear: \(1\).*--layout.*\(2\).*--range.*\(3\).*--critic-output"
    ):
        wrap(tmp_path, generator, critic)


def test_an_input_called_label_is_not_published_as_latents(tmp_path: Path) -> None:
    nodes = [node("MatMul", "onehot w", "flat"), node("Tanh", "flat", "t"), node("Reshape", "t shape", "img")]
    constants = {"w": weight(Z, 48), "shape": np.array([-1, 3, 4, 4])}
    inputs = {"onehot": (FLOAT, ["n", Z])}
    file = save(tmp_path / "g.onnx", nodes, inputs, {"img": (FLOAT, ["n", 3, 4, 4])}, constants)
    with pytest.raises(
        ExportError, match=r"by its name a label: name the labels with --labels, or say .*--latents onehot"
    ):
        wrap(tmp_path, file, **NCHW)
    assert (run(wrap(tmp_path, file, latents="onehot", **NCHW), latents=LATENTS)[0] == levels(
        np.tanh(LATENTS @ weight(Z, 48)).reshape(-1, 3, 4, 4)
    )).mean() > 0.98  # fmt: skip


def test_long_lists_and_numbers_of_labels(tmp_path: Path) -> None:
    names = ",".join(f"label-{number}" for number in range(100))
    assert len(package_command.read_labels(names)) == 100
    assert package_command.read_labels("10") == tuple("0123456789")


def test_truncation_that_does_nothing_is_not_offered(tmp_path: Path) -> None:
    norm = [node("Mul", "z z", "squares"), node("ReduceSum", "squares axes", "sum", keepdims=1),
        node("Sqrt", "sum", "length"),
        node("Div", "z length", "unit"), node("MatMul", "unit w", "flat"), node("Tanh", "flat", "t"),
        node("Reshape", "t shape", "img")]  # fmt: skip
    constants = {"w": weight(Z, 48) * 3, "shape": np.array([-1, 3, 4, 4]), "axes": np.array([1])}
    file = save(
        tmp_path / "g.onnx", norm, {"z": (FLOAT, ["n", Z])}, {"img": (FLOAT, ["n", 3, 4, 4])}, constants
    )  # fmt: skip
    packaged = wrap(tmp_path, file, **NCHW)
    assert "it changes nothing" in packaged.truncation_absence
    assert manifest(packaged).latent.truncation_absence == packaged.truncation_absence
    findings = Findings()
    check_latent_truncation(read_model_info(manifest(packaged)), 0.5, findings)
    with pytest.raises(FailedPreconditionError, match="model 'x' has no truncation: it changes nothing"):
        findings.raise_any()
    assert not wrap(tmp_path, tanh_nchw(tmp_path / "g2.onnx"), **NCHW).truncation_absence


def test_a_critic_of_flat_images(tmp_path: Path) -> None:
    critic = flat_critic(tmp_path / "c.onnx", [48])
    packaged = wrap(tmp_path, tanh_nchw(tmp_path / "g.onnx"), critic, **NCHW)
    (samples,) = run(packaged, latents=LATENTS)
    scores, _ = run(packaged, "critic.onnx", samples=samples)
    values = samples.transpose(0, 3, 1, 2).reshape(9, -1) / np.float32(127.5) - 1
    np.testing.assert_allclose(scores, values @ weight(48, 1, seed=1)[:, 0], rtol=1e-4, atol=1e-4)
