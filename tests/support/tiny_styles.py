"""Build a tiny package of a style-based generator, whose numbers a test can compute exactly.

N = batch, Z = latent values, L = layers, W = values of one w, P = values of one sample, K = labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper

from ganserve.v1 import model_spec_pb2
from tiny_packages import LEVELS, TinyModel, critic_graph, read_manifest, tiny_model, write_manifest, write_package

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

LAYERS, W = 3, 4
SEEDED, CONSTANT, NONE = (
    model_spec_pb2.NOISE_MODE_SEEDED,
    model_spec_pb2.NOISE_MODE_CONSTANT,
    model_spec_pb2.NOISE_MODE_NONE,
)
FACTORS = {SEEDED: (1.0, 0.0), CONSTANT: (0.0, 1.0), NONE: (0.0, 0.0)}


@dataclass(frozen=True, kw_only=True)
class TinyStyle(TinyModel):
    """A style-based generator: the w of layer l is `latents / 2^l + label / 8`; a pixel shows a value of one layer."""

    shape: tuple[int, ...] = (6, 8, 1)
    label_names: tuple[str, ...] = ("zero", "one", "two")
    latent_dimension: int = W
    noise_modes: tuple[model_spec_pb2.NoiseMode.ValueType, ...] = (SEEDED, CONSTANT, NONE)
    layers: int = LAYERS
    """L."""
    has_w: bool = True
    """False for a graph that takes only psi."""

    @property
    def gains(self) -> NDArray[np.float32]:
        """[1, L, 1]."""
        return np.float32(2.0) ** -np.arange(self.layers, dtype=np.float32)[None, :, None]

    @property
    def mean(self) -> NDArray[np.float32]:
        """The mean of w, [W]."""
        return np.array([-0.5, -0.25, 0.25, 0.5], np.float32)

    @property
    def places(self) -> NDArray[np.int64]:
        """Which of the L * W values each pixel shows, [P]: the layers follow each other from top to bottom."""
        pixels = np.arange(self.size)
        return pixels * self.layers // self.size * W + pixels % W

    @property
    def stored_noise(self) -> NDArray[np.float32]:
        """[P]."""
        return (np.arange(self.size) % 5 / 32).astype(np.float32)

    def ws(self, latents: NDArray[np.float32], labels: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the w's [N, L, W] of latents [N, Z], neither mixed nor truncated."""
        w = latents[:, None, :] * self.gains
        return w if labels is None else w + (labels[:, None, None] / 8).astype(np.float32)

    def truncated(self, w: NDArray[np.float32], psi: float | NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the w's [N, L, W] after truncation; psi is one for all layers, or [L]."""
        rows = np.broadcast_to(np.asarray(psi, np.float32), self.layers)[None, :, None]
        return self.mean + rows * (w - self.mean)

    def pictures(
        self,
        w: NDArray[np.float32],
        latents: NDArray[np.float32],
        noise: model_spec_pb2.NoiseMode.ValueType = SEEDED,
    ) -> NDArray[np.uint8]:
        """Return the samples [N, *shape] of w's, with the noise of latents."""
        seeded, constant = (np.float32(factor) for factor in FACTORS[noise])
        values = w.reshape(len(w), -1)[:, self.places]
        values = values + seeded * latents[:, :1] * np.float32(0.25) + constant * self.stored_noise
        levels = np.clip(np.rint((values + np.float32(1)) * np.float32(127.5)), 0, 255)
        return levels.astype(np.uint8).reshape(-1, *self.shape)


STYLE = TinyStyle()
PLAIN_STYLE = TinyStyle(label_names=(), noise_modes=())
MANY_LAYERS = TinyStyle(layers=14, shape=(14, 14, 3), label_names=())
PSI_ONLY = TinyStyle(label_names=(), noise_modes=(), has_w=False)


def build_style_package(
    models_dir: Path, name: str = "styles", *, model: TinyStyle = STYLE, psi: float | None = None, layers: int = 0
) -> Path:
    """Write a package to `models_dir/name/1`, with a default truncation, and return that folder."""
    graphs = {"generator.onnx": style_graph(model), "critic.onnx": critic_graph(model)}
    folder = write_package(models_dir, name, 1, model=replace(model), graphs=graphs)
    spec = read_manifest(folder)
    spec.style.layers, spec.style.w_dimension = model.layers, W if model.has_w else 0
    spec.style.noise_modes.extend(model.noise_modes)
    if psi is not None:
        spec.style.default_truncation, spec.style.default_truncation_layers = psi, layers
    write_manifest(folder, spec)
    return folder


def style_graph(model: TinyStyle, *, ignores_given: bool = False) -> onnx.ModelProto:
    """Return the graph; `ignores_given` takes no notice of given w's."""
    constants: dict[str, NDArray[np.generic]] = {
        "gains": model.gains,
        "mean": model.mean,
        "places": model.places,
        "stored_noise": model.stored_noise,
        "flat_shape": np.array([-1, model.layers * W], np.int64),
        "sample_shape": np.array([-1, *model.shape], np.int64),
        "middle": np.array([1], np.int64),
        "last": np.array([2], np.int64),
        "both": np.array([1, 2], np.int64),
        "first": np.array([0], np.int64),
        "eighth": np.array(0.125, np.float32),
        "quarter": np.array(0.25, np.float32),
        "zero": np.array(0, np.float32),
        **{name: np.array(value, np.float32) for name, value in LEVELS.items()},
    }
    nodes: list[onnx.NodeProto] = []

    def add(operation: str, inputs: list[str], output: str, **attributes: int) -> str:
        nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def mapped(latents: str) -> str:
        w = add("Mul", [add("Unsqueeze", [latents, "middle"], f"{latents}_row"), "gains"], f"{latents}_scaled")
        if not model.label_names:
            return w
        bonus = add("Mul", [add("Cast", ["labels"], f"{latents}_l", to=TensorProto.FLOAT), "eighth"], f"{latents}_b")
        return add("Add", [w, add("Unsqueeze", [bonus, "both"], f"{latents}_bonus")], f"{latents}_mapped")

    w = mapped("latents")
    if model.has_w:
        amount = add("Unsqueeze", ["mix", "last"], "amount")
        own = add("Mul", [w, add("Sub", ["one", amount], "rest")], "own")
        w = add("Add", [own, add("Mul", [mapped("mix_latents"), amount], "others")], "mixed")
    w = add("Mul", [add("Unsqueeze", ["psi", "last"], "psi_rows"), add("Sub", [w, "mean"], "distance")], "nearer")
    w = add("Add", ["mean", w], "truncated")
    outputs = [helper.make_tensor_value_info("samples", TensorProto.UINT8, ["N", *model.shape])]
    shapes: dict[str, list[int]] = {"latents": [W], "psi": [model.layers]}
    if model.has_w:
        given = add("Greater", [add("Unsqueeze", ["w_given", "both"], "given_cube"), "zero"], "given")
        w = add("Where", [given, "truncated" if ignores_given else "w", "truncated"], "used_w")
        outputs.append(helper.make_tensor_value_info("used_w", TensorProto.FLOAT, ["N", model.layers, W]))
        shapes |= {"mix_latents": [W], "mix": [model.layers], "w": [model.layers, W], "w_given": []}
    values = add("Gather", [add("Reshape", [w, "flat_shape"], "flat_w"), "places"], "shown", axis=1)
    if model.noise_modes:
        shapes |= {"seeded_noise": [], "constant_noise": []}
        column = add("Gather", ["latents", "first"], "column", axis=1)
        drawn = add("Mul", [add("Unsqueeze", ["seeded_noise", "middle"], "seeded"), column], "drawn")
        values = add("Add", [values, add("Mul", [drawn, "quarter"], "drawn_noise")], "with_drawn")
        stored = add("Mul", [add("Unsqueeze", ["constant_noise", "middle"], "constant"), "stored_noise"], "stored")
        values = add("Add", [values, stored], "noisy")
    levels = add("Mul", [add("Add", [values, "one"], "positive"), "half_range"], "levels")
    clipped = add("Clip", [add("Round", [levels], "rounded"), "lowest", "highest"], "clipped")
    add("Reshape", [add("Cast", [clipped], "bytes", to=TensorProto.UINT8), "sample_shape"], "samples")
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in shapes.items()]
    if model.label_names:
        inputs.append(helper.make_tensor_value_info("labels", TensorProto.INT64, ["N"]))
    return tiny_model("styles", nodes, inputs, outputs, constants)
