"""Package generators that draw random numbers in branches, loops, functions, and by dropout. N = batch, Z = latent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper

from foreign_graphs import FLOAT, Z, flat_generator, node, weight
from foreign_packages import LATENTS, NCHW, assert_same_pixels, levels, run, wrap
from ganserve_export.from_onnx.noise import NoiseInput, draw_noise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TAIL = [node("Tanh", "sum", "t"), node("Reshape", "t shape", "img")]
FLAT = LATENTS @ weight(Z, 48)
DRAW = [node("RandomNormalLike", "x", "r", scale=0.3), node("Add", "x r", "y")]
STEPS = 3
BOOL, INT64 = onnx.TensorProto.BOOL, onnx.TensorProto.INT64


def graph(nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
    kinds = {"i": (INT64, []), "go": (BOOL, []), "on": (BOOL, [])}
    ports = [[helper.make_tensor_value_info(name, *kinds.get(name, (FLOAT, None))) for name in names]
        for names in (inputs, outputs)]  # fmt: skip
    return helper.make_graph(nodes, "inner", *ports)


def noise(extents: tuple[int, ...], kind: Any = "normal") -> np.ndarray:
    return draw_noise(LATENTS, NoiseInput(name="n", distribution=kind), extents, "seeded", 0)


def packaged_samples(tmp_path: Path, nodes: Sequence[onnx.NodeProto], batch: str | int = "n", **options: Any) -> Any:
    """Return the samples of a package of nodes from `flat` to `sum`, and how it was understood."""
    constants = {
        "shape": np.array([-1, 3, 4, 4]), "yes": np.array(True), "steps": np.array(STEPS), "half": np.float32(0.5),
        "ramp": np.arange(1, STEPS + 1, dtype=np.float32),
    }  # fmt: skip
    inputs = {"z": (FLOAT, [batch, Z])}
    file = flat_generator(
        tmp_path / "g.onnx", [*nodes, *TAIL], (FLOAT, [batch, 3, 4, 4]), constants=constants, inputs=inputs, **options
    )
    packaged = wrap(tmp_path, file, **NCHW)
    (samples,) = run(packaged, latents=LATENTS)
    assert (run(packaged, latents=LATENTS[3:4])[0] == samples[3:4]).all()
    return samples, packaged.generator_is


def image(values: np.ndarray) -> np.ndarray:
    return levels(np.tanh(values).reshape(-1, 3, 4, 4))


@pytest.mark.parametrize("batch", ["n", 1])
@pytest.mark.parametrize("place", ["branch", "loop", "scan", "scan of samples", "branch in a loop", "function"])
def test_random_nodes_within(tmp_path: Path, place: str, batch: str | int) -> None:
    branch = graph([*DRAW], [], ["y"])
    options: dict[str, Any] = {}
    same = graph([node("Identity", "x", "y2")], [], ["y2"])
    ahead, expected = node("Identity", "flat", "x"), FLAT + 0.3 * noise((48,))
    going = node("Identity", "go", "on")
    if place == "branch":
        nodes = [ahead, helper.make_node("If", ["yes"], ["sum"], then_branch=branch, else_branch=same)]
    elif place == "loop":
        body = graph([*DRAW, going], ["i", "go", "x"], ["on", "y"])
        nodes = [helper.make_node("Loop", ["steps", "yes", "flat"], ["sum"], body=body)]
        expected = FLAT + 0.3 * noise((STEPS, 48)).sum(axis=1)
    elif place == "scan":
        nodes = [*DRAW[:1], node("Mul", "r factor", "s"), node("Add", "x s", "y")]
        body = graph(nodes, ["x", "factor"], ["y"])
        nodes = [helper.make_node("Scan", ["flat", "ramp"], ["sum"], body=body, num_scan_inputs=1)]
        expected = FLAT + 0.3 * (noise((STEPS, 48)) * np.arange(1, STEPS + 1)[None, :, None]).sum(axis=1)
    elif place == "scan of samples":
        nodes = [helper.make_node("Scan", ["flat"], ["sum"], body=graph(DRAW, ["x"], ["y"]), num_scan_inputs=1)]
    elif place == "branch in a loop":
        chosen = helper.make_node("If", ["yes"], ["z2"], then_branch=branch, else_branch=same)
        body = graph([chosen, going], ["i", "go", "x"], ["on", "z2"])
        nodes = [helper.make_node("Loop", ["steps", "yes", "flat"], ["sum"], body=body)]
        expected = FLAT + 0.3 * noise((STEPS, 48)).sum(axis=1)
    else:
        nodes, options = [helper.make_node("Noisy", ["flat"], ["sum"], domain="mine")], {"domains": ("mine",)}
        save = onnx.save_model
        function = helper.make_function("mine", "Noisy", ["x"], ["y"], DRAW, [helper.make_opsetid("", 17)])

        def with_function(model: onnx.ModelProto, file: Path) -> None:
            model.functions.append(function)
            save(model, file)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(onnx, "save_model", with_function)
            samples, _ = packaged_samples(tmp_path, nodes, batch, **options)
        assert_same_pixels(samples, image(expected))
        return
    samples, understood = packaged_samples(tmp_path, nodes, batch, **options)
    assert_same_pixels(samples, image(expected))
    assert f"seeded noise of {(STEPS if 'loop' in place or place == 'scan' else 1) * 48} values" in understood


def test_bernoulli(tmp_path: Path) -> None:
    nodes = [node("Sigmoid", "flat", "p"), node("Bernoulli", "p", "b"), node("Mul", "flat b", "sum")]
    samples, _ = packaged_samples(tmp_path, nodes)
    below = noise((48,), "uniform") < 1 / (1 + np.exp(-FLAT))
    assert_same_pixels(samples, image(FLAT * below))


def test_dropout_in_training_mode_is_told(tmp_path: Path) -> None:
    samples, understood = packaged_samples(tmp_path, [node("Dropout", "flat half yes", "sum")])
    assert_same_pixels(samples, image(np.where(noise((48,), "uniform") < 0.5, 0, FLAT / 0.5)))
    assert "(dropout in training mode; export in eval mode to leave it out)" in understood
