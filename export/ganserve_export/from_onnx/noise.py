"""Noise that a foreign generator takes or draws: seeded by the latents, or constant. N = batch, Z = latent, V = values.

A server must give the same sample for the same seed, so a graph may not draw random numbers. Nodes that do become
inputs (`random_nodes`); these, and inputs for noise, get values that the package's graph computes from the latents with
whole numbers below 2^62, so that every machine gets the same ones.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ganserve_export.from_onnx.surgery import Surgery

NoiseMode: TypeAlias = Literal["seeded", "constant", "none"]
_PRIME = 2**31 - 1
_FINE, _FARTHEST = 65536.0, 64.0  # latents are read in steps of 1/65,536 up to 64
_SEED = 20_000_033
_STRIDE, _OFFSETS = 1_000_003, (7_919, 104_729)
_FACTORS = (48_271, 69_621, 39_373, 16_807)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseInput:
    """An input for noise."""

    name: str
    distribution: Literal["normal", "uniform"]
    """Standard normal, or uniform on [0, 1)."""
    is_dropout: bool = False
    """True if it drops values out, which networks do in training mode."""


def draw_noise(
    latents: npt.NDArray[np.float32], noise: NoiseInput, extents: tuple[int, ...], mode: NoiseMode, stream: int
) -> npt.NDArray[np.float32]:
    """Return noise float32 [N, *extents] for latents [N, Z]; `stream` tells several inputs for noise apart."""
    values = math.prod(extents)
    if mode != "seeded":
        constant = _constant(noise, values, mode, stream)
        return np.broadcast_to(constant, (len(latents), values)).reshape(len(latents), *extents)
    whole = (np.clip(latents, -_FARTHEST, _FARTHEST) * np.float32(_FINE)).astype(np.int64)
    hashes = []
    for part in range(2):
        seeds = (whole * _weights(latents.shape[1], stream, part)).sum(axis=1, keepdims=True) % _PRIME
        hashes.append(_mixed(seeds + _places(values, part)))
    first, second = ((value.astype(np.float32) + np.float32(0.5)) / np.float32(_PRIME) for value in hashes)
    drawn = _distributed(first, second, noise)
    return drawn.reshape(len(latents), *extents)


def add_noise(
    surgery: Surgery, latents: str, dim: int, noise: NoiseInput, extents: tuple[int, ...], mode: NoiseMode, stream: int
) -> str:
    """Add `draw_noise` as nodes; return the result's name."""
    values = math.prod(extents)
    shape = surgery.constant([-1, *extents], np.int64)
    if mode != "seeded":
        constant = surgery.constant(_constant(noise, values, mode, stream), np.float32)
        # A zero for each sample gives the constant its batch axis.
        first = surgery.node("Slice", latents, *(surgery.constant([at], np.int64) for at in (0, 1, 1)))
        nothing = surgery.node("Mul", first, surgery.constant(0, np.float32))
        return surgery.node("Reshape", surgery.node("Add", nothing, constant), shape)
    near = surgery.node(
        "Clip", latents, surgery.constant(-_FARTHEST, np.float32), surgery.constant(_FARTHEST, np.float32)
    )
    whole = surgery.cast(surgery.node("Mul", near, surgery.constant(_FINE, np.float32)), "int64")
    prime = surgery.constant(_PRIME, np.int64)
    uniform = []
    for part in range(2):
        weighted = surgery.node("Mul", whole, surgery.constant(_weights(dim, stream, part), np.int64))
        seeds = surgery.node("Mod", surgery.sum_rows(weighted), prime)
        places = surgery.node("Range", *(surgery.constant(number, np.int64) for number in (0, values, 1)))
        places = surgery.node("Mul", places, surgery.constant(_STRIDE, np.int64))
        places = surgery.node("Add", places, surgery.constant(_OFFSETS[part], np.int64))
        mixed = surgery.node("Add", seeds, places)
        for factor in _FACTORS:
            mixed = surgery.node("Mod", mixed, prime)
            mixed = surgery.node("Mod", surgery.node("Mul", mixed, mixed), prime)
            mixed = surgery.node("Add", surgery.node("Mul", mixed, surgery.constant(factor, np.int64)), prime)
        mixed = surgery.cast(surgery.node("Mod", mixed, prime), "float32")
        half = surgery.node("Add", mixed, surgery.constant(0.5, np.float32))
        uniform.append(surgery.node("Div", half, surgery.constant(_PRIME, np.float32)))
    if noise.distribution == "uniform":
        return surgery.node("Reshape", surgery.node("Min", uniform[0], surgery.constant(_BELOW_1, np.float32)), shape)
    radius = surgery.node("Mul", surgery.node("Log", uniform[0]), surgery.constant(-2.0, np.float32))
    radius = surgery.node("Sqrt", surgery.node("Max", radius, surgery.constant(0, np.float32)))
    angle = surgery.node("Cos", surgery.node("Mul", uniform[1], surgery.constant(2 * math.pi, np.float32)))
    return surgery.node("Reshape", surgery.node("Mul", radius, angle), shape)


_BELOW_1 = np.float32(1 - 2**-24)


def _distributed(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], noise: NoiseInput
) -> npt.NDArray[np.float32]:
    if noise.distribution == "uniform":
        return np.minimum(first, _BELOW_1)
    # Box and Muller 1958
    radius = np.sqrt(np.maximum(np.log(first) * np.float32(-2), np.float32(0)))
    return np.asarray(radius * np.cos(second * np.float32(2 * math.pi)), np.float32)


def _mixed(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Mix the bits of whole numbers, so that neighbours have nothing in common; results lie below the prime."""
    for factor in _FACTORS:
        values = values % _PRIME
        values = values * values % _PRIME
        values = values * factor + _PRIME
    return values % _PRIME


def _weights(dim: int, stream: int, part: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([_SEED, stream, part]).integers(1, 2**24, dim)


def _places(values: int, part: int) -> npt.NDArray[np.int64]:
    return (np.arange(values, dtype=np.int64) * _STRIDE + _OFFSETS[part])[None]


def _constant(noise: NoiseInput, values: int, mode: NoiseMode, stream: int) -> npt.NDArray[np.float32]:
    random = np.random.default_rng([_SEED + 2, stream])
    if mode == "none":
        return np.full((1, values), 0.0 if noise.distribution == "normal" else 0.5, np.float32)
    drawn = random.standard_normal((1, values)) if noise.distribution == "normal" else random.random((1, values))
    return drawn.astype(np.float32)
