"""Package graphs that compute certain batches only, and compare each sample with the original's. N = batch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional as F

from foreign_graphs import (
    FLOAT,
    INT64,
    Dcgan,
    Z,
    export,
    flat_generator,
    node,
    save,
    tanh_nchw,
    tanh_nchw_values,
    weight,
)
from foreign_packages import ABC, LABELS, LATENTS, NCHW, assert_same_pixels, levels, run, wrap
from ganserve_export import ExportError

if TYPE_CHECKING:
    from pathlib import Path

FREED, LOOPED, DOUBLED = "batch axis freed", "one sample after another", "a single sample is computed twice"


def export_legacy(module: nn.Module, file: Path, *inputs: Tensor, **options: Any) -> Path:
    """Call the older exporter, which writes the batch of its example everywhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns about itself
        torch.onnx.export(module, inputs, file, dynamo=False, **options)
    return file


def in_turn(file: Path, size: int = 1, **feed: np.ndarray) -> np.ndarray:
    """Return the original's results, from batches of `size` whose first sample counts."""
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    count = len(next(iter(feed.values())))
    rows = [
        {name: np.repeat(values[at : at + 1], size, axis=0) for name, values in feed.items()} for at in range(count)
    ]
    return np.concatenate([session.run(None, row)[0][:1] for row in rows])


class Modulated(nn.Module):
    """A modulated convolution whose groups are the batch, as in StyleGAN2's public code."""

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(1, 4, 8, 8))
        self.style = nn.Linear(Z, 4)
        self.kernel = nn.Parameter(torch.randn(3, 4, 3, 3))

    def forward(self, z: Tensor) -> Tensor:
        batch = z.shape[0]
        kernels = self.kernel[None] * self.style(z).reshape(batch, 1, 4, 1, 1)
        x = self.constant.repeat(batch, 1, 1, 1).reshape(1, batch * 4, 8, 8)
        x = F.conv2d(x, kernels.reshape(batch * 3, 4, 3, 3), padding=1, groups=batch)
        return torch.tanh(x.reshape(batch, 3, 8, 8))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("exporter", ["new", "older"])
def test_a_declared_batch_is_freed(tmp_path: Path, batch: int, exporter: str) -> None:
    torch.manual_seed(0)
    example, network = torch.randn(batch, Z, 1, 1), Dcgan().eval()
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(6.0)  # else all pixels are gray
    if exporter == "new":
        file = export(network, tmp_path / "g.onnx", example, dynamic_shapes=None)
    else:
        file = export_legacy(network, tmp_path / "g.onnx", example)
    packaged = wrap(tmp_path, file)
    (name,) = (tensor.name for tensor in ort.InferenceSession(file).get_inputs())
    expected = levels(in_turn(file, batch, **{name: LATENTS[..., None, None]}))
    assert_same_pixels(run(packaged, latents=LATENTS)[0], expected)
    assert FREED in packaged.generator_is
    assert "-1..1 by its tanh" in packaged.generator_is


@pytest.mark.parametrize("batch", [1, 2])
def test_what_depends_on_the_batch_runs_in_a_loop(tmp_path: Path, batch: int) -> None:
    torch.manual_seed(0)
    file = export_legacy(Modulated().eval(), tmp_path / "g.onnx", torch.randn(batch, Z), input_names=["z"])
    packaged = wrap(tmp_path, file, layout="nchw")
    for count in (1, 2, 9):
        expected = levels(in_turn(file, batch, z=LATENTS[:count]))
        assert_same_pixels(run(packaged, latents=LATENTS[:count])[0], expected)
    assert (LOOPED if batch == 1 else "2 samples after another 2") in packaged.generator_is
    assert packaged.generator.largest == 0


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_batch_axis_that_only_looks_dynamic(tmp_path: Path, batch: int) -> None:
    tail = [node("Tanh", "flat", "t"), node("Reshape", "t shape", "img")]
    for shape in ([batch, -1, 4, 4], [batch, 3, 4, 4]):
        constants = {"shape": np.array(shape)}
        file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
        packaged = wrap(tmp_path, file, **NCHW)
        assert_same_pixels(run(packaged, latents=LATENTS)[0], levels(tanh_nchw_values(LATENTS)))
        assert FREED in packaged.generator_is


def test_pairs_are_computed_in_pairs(tmp_path: Path) -> None:
    """Serve a reshape to pairs, which an odd batch does not fit."""
    tail = [node("Reshape", "flat pairs", "p"), node("Tanh", "p", "t"), node("Reshape", "t shape", "img")]
    constants = {"pairs": np.array([-1, 96]), "shape": np.array([-1, 3, 4, 4])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, ["n", 3, 4, 4]), constants=constants)
    packaged = wrap(tmp_path, file, **NCHW)
    for count in (1, 2, 3, 9):
        expected = levels(tanh_nchw_values(LATENTS[:count]))
        assert_same_pixels(run(packaged, latents=LATENTS[:count])[0], expected)


def test_a_single_sample_that_loses_its_batch_axis(tmp_path: Path) -> None:
    """Serve Python's squeeze() at the end of a critic, which removes the batch axis of one sample, too."""
    nodes = [node("Reshape", "x flat", "f"), node("MatMul", "f w", "column"), node("Squeeze", "column", "s")]
    constants = {"flat": np.array([-1, 48]), "w": weight(48, 1, seed=1)}
    critic = save(tmp_path / "c.onnx", nodes, {"x": (FLOAT, ["n", 3, 4, 4])}, {"s": (FLOAT, None)}, constants)
    packaged = wrap(tmp_path, tanh_nchw(tmp_path / "g.onnx"), critic, **NCHW)
    assert DOUBLED in packaged.critic_is
    samples = run(packaged, latents=LATENTS)[0]
    together, _ = run(packaged, "critic.onnx", samples=samples)
    alone = [run(packaged, "critic.onnx", samples=samples[at : at + 1])[0] for at in range(len(samples))]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5)


def test_statistics_of_the_batch_with_batch_one(tmp_path: Path) -> None:
    generator = tanh_nchw(tmp_path / "g.onnx")
    nodes = [
        node("ReduceMean", "x", "mean", axes=[0], keepdims=1), node("Sub", "x mean", "far"),
        node("Abs", "far", "spread"), node("ReduceMean", "spread", "all", keepdims=0), node("Reshape", "x flat", "f"),
        node("MatMul", "f w", "column"), node("Add", "column all", "s"),
    ]  # fmt: skip
    constants = {"flat": np.array([-1, 48]), "w": weight(48, 1, seed=1)}
    critic = save(tmp_path / "c.onnx", nodes, {"x": (FLOAT, ["n", 3, 4, 4])}, {"s": (FLOAT, ["n", 1])}, constants)
    with pytest.raises(ExportError, match=r"critic c\.onnx mixes its samples: .*--batch one"):
        wrap(tmp_path, generator, critic, **NCHW)
    packaged = wrap(tmp_path, generator, critic, batch="one", **NCHW)
    (samples,) = run(packaged, latents=LATENTS)
    scores, _ = run(packaged, "critic.onnx", samples=samples)
    values = samples.transpose(0, 3, 1, 2).reshape(9, -1) / np.float32(127.5) - 1
    np.testing.assert_allclose(scores, values @ weight(48, 1, seed=1)[:, 0], rtol=1e-4, atol=1e-4)


def test_a_graph_without_a_batch_axis(tmp_path: Path) -> None:
    nodes = [node("MatMul", "z w", "flat"), node("Sigmoid", "flat", "s"), node("Reshape", "s shape", "img")]
    constants = {"w": weight(Z, 90), "shape": np.array([6, 5, 3])}
    file = save(tmp_path / "g.onnx", nodes, {"z": (FLOAT, [Z])}, {"img": (FLOAT, [6, 5, 3])}, constants)
    packaged = wrap(tmp_path, file)
    expected = np.rint(255 / (1 + np.exp(-(LATENTS @ weight(Z, 90))))).astype(np.uint8).reshape(-1, 6, 5, 3)
    assert_same_pixels(run(packaged, latents=LATENTS)[0], expected)
    assert "0..1 by its sigmoid" in packaged.generator_is


def test_labels_of_a_batch_of_one(tmp_path: Path) -> None:
    """Loop over labels beside latents, also where a branch decides."""
    branch = [
        helper.make_graph([node(kind, "flat row", out)], out, [], [helper.make_tensor_value_info(out, FLOAT, None)])
        for kind, out in (("Add", "p"), ("Sub", "q"))
    ]
    tail = [
        node("Gather", "table y", "row", axis=0), node("ReduceSum", "z", "sum", keepdims=0),
        node("Greater", "sum nought", "positive"),
        node("If", "positive", "either", then_branch=branch[0], else_branch=branch[1]),
        node("Tanh", "either", "t"), node("Reshape", "t shape", "img"),
    ]  # fmt: skip
    constants = {"table": weight(3, 48, seed=3), "shape": np.array([1, 3, 4, 4]), "nought": np.float32(0)}
    inputs = {"z": (FLOAT, [1, Z]), "y": (INT64, [1])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, [1, 3, 4, 4]), constants=constants, inputs=inputs)
    packaged = wrap(tmp_path, file, label_names=ABC, layout="nchw")
    sign = np.where(LATENTS.sum(axis=1) > 0, 1, -1)[:, None]
    values = np.tanh(LATENTS @ weight(Z, 48) + sign * weight(3, 48, seed=3)[LABELS]).reshape(-1, 3, 4, 4)
    assert_same_pixels(run(packaged, latents=LATENTS, labels=LABELS)[0], levels(values))
    assert LOOPED in packaged.generator_is


def test_statistics_of_groups_are_not_served_alone_by_themselves(tmp_path: Path) -> None:
    """Refuse a critic with StyleGAN's deviation of groups of 4, which also runs on one sample, unless told to."""
    nodes = [
        node("Shape", "x", "extents"), node("Gather", "extents first", "count"), node("Min", "count four", "group"),
        node("Concat", "group rest", "groups", axis=0), node("Reshape", "x groups", "grouped"),
        node("ReduceMean", "grouped", "mean", axes=[0], keepdims=1), node("Sub", "grouped mean", "far"),
        node("Abs", "far", "size"), node("Reshape", "size row", "flat"), node("ReduceMean", "flat", "s", axes=[1]),
        node("ReduceMean", "x", "bright", axes=[1, 2, 3], keepdims=0), node("Reshape", "bright one", "b"),
        node("Add", "s b", "score"),
    ]  # fmt: skip
    constants = {
        "first": np.array([0]), "four": np.array([4]), "rest": np.array([-1, 48]), "row": np.array([-1, 48]),
        "one": np.array([-1, 1]),
    }  # fmt: skip
    file = tmp_path / "c.onnx"
    critic = save(file, nodes, {"x": (FLOAT, ["n", 3, 4, 4])}, {"score": (FLOAT, ["n", 1])}, constants)
    generator = tanh_nchw(tmp_path / "g.onnx")
    with pytest.raises(ExportError, match=r"--batch one"):
        wrap(tmp_path, generator, critic, **NCHW)
    assert LOOPED in wrap(tmp_path, generator, critic, batch="one", **NCHW).critic_is


def test_statistics_of_a_declared_batch(tmp_path: Path) -> None:
    """Advise what helps a file for batches of 7, which --batch one does not."""
    tail = [
        node("ReduceMean", "flat", "mean", axes=[0], keepdims=1), node("Sub", "flat mean", "far"),
        node("Tanh", "far", "t"), node("Reshape", "t shape", "img"),
    ]  # fmt: skip
    inputs, constants = {"z": (FLOAT, [7, Z])}, {"shape": np.array([7, 3, 4, 4])}
    file = flat_generator(tmp_path / "g.onnx", tail, (FLOAT, [7, 3, 4, 4]), inputs=inputs, constants=constants)
    with pytest.raises(ExportError, match=r"mixes its samples.*open batch axis in place of 7, for --batch one"):
        wrap(tmp_path, file, **NCHW)
    with pytest.raises(ExportError, match=r"fixed to batches of 7.*drop --batch one, or export it with an open batch"):
        wrap(tmp_path, file, batch="one", **NCHW)
