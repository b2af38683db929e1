"""Read StyleGAN2 weights from checkpoints of rosinality/stylegan2-pytorch, and of other models with its names.

Its formulas are those of StyleGAN2 with other names; weights of transposed convolutions have the same orientation.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganserve_export.errors import ExportError
from ganserve_export.from_weights.records import tensors_of_dictionary
from ganserve_export.from_weights.stylegan2_weights import Stylegan2Weights, Tensors, is_low_pass_filter

ORIGIN = "rosinality/stylegan2-pytorch"
_LATENTS_FOR_MEAN = 100_000
_FIRST = "conv1.conv.weight"


def is_checkpoint(content: Any) -> bool:
    """Say whether a file holds a generator with these names."""
    return isinstance(content, dict) and _generator_of(content) is not None


def _generator_of(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for values in (content.get("g_ema"), content.get("g"), content):
        if isinstance(values, dict) and _FIRST in values and "input.input" in values:
            return values
    return None


def read_checkpoint(content: dict[str, Any], *, with_critic: bool, with_trained: bool = False) -> Stylegan2Weights:
    """Return the weights in a checkpoint.

    Raises:
        ExportError: It has no critic, or parts that ours don't have.
    """
    averaged = _generator_of(content)
    assert averaged is not None
    found = tensors_of_dictionary(averaged)
    generator = _generator(found)
    mean = tensors_of_dictionary({"mean": content.get("latent_avg")}).get("mean")
    generator["mapping.w_avg"] = _mean_of_w(generator) if mean is None else mean.float().reshape(-1)
    critic: Tensors | None = None
    if with_critic:
        if not isinstance(content.get("d"), dict):
            raise ExportError("holds no critic (d). Add --generator-only")
        critic = _critic(tensors_of_dictionary(content["d"]))
    trained = content.get("g")
    trained_generator = None
    if with_trained and isinstance(trained, dict) and trained is not averaged:
        trained_generator = _generator(tensors_of_dictionary(trained))
        trained_generator["mapping.w_avg"] = generator["mapping.w_avg"]
    return Stylegan2Weights(origin=ORIGIN, generator=generator, critic=critic, trained_generator=trained_generator)


def _generator(found: Tensors) -> Tensors:
    """Return a generator's weights by our names."""
    tensors: Tensors = {"synthesis.b4.const": _take(found, "input.input")[0]}
    mapped = {}
    for name in list(found):
        if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", name):
            mapped[f"mapping.fc{int(match[1]) - 1}.{match[2]}"] = _take(found, name)
    tensors |= mapped
    layers = [("conv1", "synthesis.b4.conv1")]
    images = [("to_rgb1", "synthesis.b4.torgb")]
    for index in range(sum(name.endswith("conv.weight") and name.startswith("convs.") for name in found)):
        side = 8 << (index // 2)
        layers.append((f"convs.{index}", f"synthesis.b{side}.conv{index % 2}"))
        if index % 2:
            images.append((f"to_rgbs.{index // 2}", f"synthesis.b{side}.torgb"))
    for number, (theirs, ours) in enumerate(layers):
        tensors |= _modulated(found, theirs, ours)
        tensors[f"{ours}.bias"] = _take(found, f"{theirs}.activate.bias").reshape(-1)
        tensors[f"{ours}.noise_strength"] = _take(found, f"{theirs}.noise.weight").reshape(())
        noise = found.pop(f"noises.noise_{number}", None)
        side = int(ours.split(".")[1][1:])
        tensors[f"{ours}.noise_const"] = torch.zeros(side, side) if noise is None else noise[0, 0]
    for theirs, ours in images:
        tensors |= _modulated(found, theirs, ours)
        tensors[f"{ours}.bias"] = _take(found, f"{theirs}.bias").reshape(-1)
    _check_rest(found, "generator")
    return {name: tensor.float() for name, tensor in tensors.items()}


def _modulated(found: Tensors, theirs: str, ours: str) -> Tensors:
    return {
        f"{ours}.weight": _take(found, f"{theirs}.conv.weight")[0],
        f"{ours}.affine.weight": _take(found, f"{theirs}.conv.modulation.weight"),
        f"{ours}.affine.bias": _take(found, f"{theirs}.conv.modulation.bias"),
    }


def _critic(found: Tensors) -> Tensors:
    """Return a critic's weights by our names."""
    blocks = sum(name.endswith("skip.1.weight") for name in found)
    side = 4 << blocks
    places = {"convs.0": f"b{side}.fromrgb", "final_conv": "b4.conv"}
    tensors: Tensors = {}
    for index in range(1, blocks + 1):
        places[f"convs.{index}.conv1"] = f"b{side}.conv0"
        tensors[f"b{side}.conv1.weight"] = _take(found, f"convs.{index}.conv2.1.weight")
        tensors[f"b{side}.conv1.bias"] = _take(found, f"convs.{index}.conv2.2.bias")
        tensors[f"b{side}.skip.weight"] = _take(found, f"convs.{index}.skip.1.weight")
        side //= 2
    for theirs, ours in places.items():
        tensors[f"{ours}.weight"] = _take(found, f"{theirs}.0.weight")
        tensors[f"{ours}.bias"] = _take(found, f"{theirs}.1.bias")
    for number, ours in enumerate(("b4.fc", "b4.out")):
        tensors[f"{ours}.weight"] = _take(found, f"final_linear.{number}.weight")
        tensors[f"{ours}.bias"] = _take(found, f"final_linear.{number}.bias")
    _check_rest(found, "critic")
    return {name: tensor.float() for name, tensor in tensors.items()}


def _take(found: Tensors, name: str) -> Tensor:
    try:
        return found.pop(name)
    except KeyError:
        raise ExportError(f"its networks have no {name}, which rosinality's StyleGAN2 has") from None


def _check_rest(found: Tensors, player: str) -> None:
    """Refuse what was not taken, except filters that are the expected ones."""
    for name, tensor in found.items():
        if not name.endswith(".kernel"):
            raise ExportError(f"its {player} has {name}, which rosinality's StyleGAN2 lacks")
        if not is_low_pass_filter(tensor, 1.0 if player == "critic" else 4.0):
            raise ExportError(f"its {player}'s {name} is another filter than [1, 3, 3, 1], which ganserve uses")


@torch.no_grad()
def _mean_of_w(generator: Tensors) -> Tensor:
    """Return the mean of w, which these checkpoints lack, over many latents."""
    random = torch.Generator().manual_seed(0)
    first = generator["mapping.fc0.weight"]
    total = torch.zeros(first.shape[0], dtype=torch.float64)
    for _ in range(_LATENTS_FOR_MEAN // 10_000):
        values = torch.randn(10_000, first.shape[1], generator=random)
        values = values * (values.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        layer = 0
        while (weight := generator.get(f"mapping.fc{layer}.weight")) is not None:
            scaled = weight * (0.01 / math.sqrt(weight.shape[1]))
            made = torch.nn.functional.linear(values, scaled, generator[f"mapping.fc{layer}.bias"] * 0.01)
            values = torch.nn.functional.leaky_relu(made, 0.2) * math.sqrt(2.0)
            layer += 1
        total += values.double().sum(dim=0)
    return (total / (_LATENTS_FOR_MEAN // 10_000 * 10_000)).float()
