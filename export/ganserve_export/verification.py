"""Proof that a graph computes what its network computes, on fresh random inputs at several batch sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import torch

from ganserve_export._errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor, nn

BATCH_SIZES = (1, 3, 64)
# Rounding to whole levels turns a difference of 1e-6 into one level where a value lies on the edge between two: seen in
# 2 of 10,000 values of a random network. A graph that is wrong differs by a level in far more than one of a hundred.
PIXEL_TOLERANCE = 1.0
PIXEL_SHARE_TOLERANCE = 1e-2
RELATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How far a graph was from its network."""

    batch_sizes: tuple[int, ...]
    """Batch sizes compared."""
    largest: float
    """Largest absolute difference: levels (of 255) for uint8 outputs, the output's own unit otherwise."""
    tolerance: float
    """Largest difference allowed, in the same unit."""
    share: float
    """Share of all output values that differ at all."""


def verify(
    file: Path,
    module: nn.Module,
    make_inputs: Callable[[int, torch.Generator], Mapping[str, Tensor]],
    output_names: tuple[str, ...],
    *,
    seed: int,
) -> Difference:
    """Runs the file in onnxruntime and the module in PyTorch, both on the CPU, and compares every output value.

    Args:
        file: The ONNX file as it will be published.
        module: The module that it was exported from, in eval mode.
        make_inputs: Draws inputs by name for a batch size from a random generator.
        output_names: The outputs that the file must have, in order.
        seed: Seed of the random inputs.

    Raises:
        VerificationError: Names, types, shapes or values differ.
    """
    try:
        session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise VerificationError(f"onnxruntime cannot load {file.name}: {error}") from error
    names = tuple(output.name for output in session.get_outputs())
    if names != output_names:
        raise VerificationError(f"{file.name} has the outputs {names}, expected {output_names}")

    generator = torch.Generator().manual_seed(seed)
    largest = tolerance = 0.0
    different = total = 0
    for batch in BATCH_SIZES:
        inputs = make_inputs(batch, generator)
        with torch.inference_mode():
            outputs = module(*inputs.values())
        expected = [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]
        actual = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        for name, mine, theirs in zip(names, actual, expected, strict=True):
            where = f"{file.name}, output {name}, batch {batch}, seed {seed}"
            difference, allowed = _compare(mine, theirs, where)
            largest, tolerance = max(largest, difference), max(tolerance, allowed)
            different += int(np.count_nonzero(mine != theirs))
            total += mine.size
    share = different / total
    if _is_pixels(expected) and share > PIXEL_SHARE_TOLERANCE:
        raise VerificationError(
            f"{file.name}: {share:.2%} of the pixel values differ from PyTorch's by a level (at most "
            f"{PIXEL_SHARE_TOLERANCE:.1%} expected, seed {seed}). Not published."
        )
    return Difference(batch_sizes=BATCH_SIZES, largest=largest, tolerance=tolerance, share=share)


def _is_pixels(outputs: list[npt.NDArray[np.generic]]) -> bool:
    return outputs[0].dtype == np.uint8


def _compare(actual: npt.NDArray[np.generic], expected: npt.NDArray[np.generic], where: str) -> tuple[float, float]:
    """Returns the largest absolute difference and the largest one allowed."""
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        raise VerificationError(
            f"{where}: the graph gives {actual.dtype} {list(actual.shape)}, PyTorch {expected.dtype} "
            f"{list(expected.shape)}. Not published."
        )
    mine, theirs = actual.astype(np.float64), expected.astype(np.float64)
    if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        raise VerificationError(f"{where}: not all values are finite. Not published: export an earlier checkpoint.")
    difference = float(np.abs(mine - theirs).max())
    allowed = (
        PIXEL_TOLERANCE if actual.dtype == np.uint8 else RELATIVE_TOLERANCE * max(1.0, float(np.abs(theirs).max()))
    )
    if difference > allowed:
        raise VerificationError(
            f"{where}: the graph differs from PyTorch by {difference:.3g}, more than {allowed:.3g}. Not published."
        )
    return difference, allowed
