"""Check that a graph computes what its original computes, on fresh random inputs at several batch sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganserve_export.errors import ExportError, VerificationError
from ganserve_export.package.onnx_graphs import open_on_cpu
from ganserve_export.package.random_inputs import InputMaker

BATCH_SIZES = (1, 3, 64)
# Rounding to whole levels turns a difference of 1e-6 into one level if a value lies on the edge between two: 2 of
# 10,000 values of a random network do. A wrong graph differs by a level in far more than one value of a hundred.
PIXEL_TOLERANCE = 1.0
PIXEL_SHARE_TOLERANCE = 1e-2
RELATIVE_TOLERANCE = 1e-4
# With 16 bits, onnxruntime rounds between some operations and not others.
HALF_SLACK, HALF_PIXEL_TOLERANCE = 20.0, 2.0
FLOAT32_STEPS = 8  # times the last bit of a float32, which is large for vectors far from zero


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Difference between a graph and its original."""

    batch_sizes: tuple[int, ...]
    """Batch sizes compared."""
    largest: float
    """Largest absolute difference: levels (of 255) for uint8 outputs, the output's own unit otherwise."""
    tolerance: float
    """Largest difference allowed, in the same unit."""
    share: float
    """Share of all output values that differ at all."""
    is_pixels: bool
    """True if differences are levels of uint8 pixels."""


def verify(
    file: Path,
    original: Callable[..., Tensor | tuple[Tensor, ...]],
    make_inputs: InputMaker,
    output_names: tuple[str, ...],
    *,
    seed: int,
    scale: Sequence[float] = (),
    name: str = "PyTorch",
    is_half: bool = False,
    tolerance: float | None = None,
    batch_sizes: tuple[int, ...] = BATCH_SIZES,
) -> Difference:
    """Run the file in onnxruntime, run its original, both on the CPU, and compare every output value.

    `original` is called with the inputs by position, and messages call it `name`. The unit of differences of vectors is
    `scale`, the data's deviation in each value, [D]. If either side rounds to 16 bits, `is_half` allows 20 times the
    difference, and 2 levels of a pixel. `tolerance` is the largest difference allowed, in place of one by the values.
    `batch_sizes` are those compared, smaller ones for large samples.

    Raises:
        VerificationError: Names, types, shapes or values differ.
    """
    try:
        session = open_on_cpu(file)
    except ExportError as error:
        raise VerificationError(str(error)) from error
    slack = HALF_SLACK if is_half else 1.0
    names = tuple(output.name for output in session.get_outputs())
    if names != output_names:
        raise VerificationError(f"{file.name} has the outputs {names}, expected {output_names}")

    generator = torch.Generator().manual_seed(seed)
    found: list[tuple[float, float]] = []
    different = total = 0
    for batch in batch_sizes:
        inputs = make_inputs(batch, generator)
        with torch.inference_mode():
            outputs = original(*inputs.values())
        expected = [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]
        actual = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        for output, mine, theirs in zip(names, actual, expected, strict=True):
            where = f"{file.name}, output {output}, batch {batch}, seed {seed}"
            pair = _compare(mine, theirs, where, scale, name, slack, tolerance)
            if mine.dtype == expected[0].dtype:  # A report in levels leaves out w's, which have another unit.
                found.append(pair)
                different += int(np.count_nonzero(mine != theirs))
                total += mine.size
    share = different / total
    is_pixels = expected[0].dtype == np.uint8
    if is_pixels and share > PIXEL_SHARE_TOLERANCE * slack:
        raise VerificationError(
            f"{file.name}: {share:.2%} of the pixel values differ from {name}'s by a level (at most "
            f"{PIXEL_SHARE_TOLERANCE * slack:.1%} expected, seed {seed}). Not published."
        )
    largest, allowed = max(found, key=_ratio)
    return Difference(batch_sizes=batch_sizes, largest=largest, tolerance=allowed, share=share, is_pixels=is_pixels)


def _compare(
    actual: npt.NDArray[np.generic],
    expected: npt.NDArray[np.generic],
    where: str,
    scale: Sequence[float],
    name: str,
    slack: float,
    tolerance: float | None,
) -> tuple[float, float]:
    """Return the difference that is largest relative to its tolerance, and that tolerance."""
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        raise VerificationError(
            f"{where}: the graph gives {actual.dtype} {list(actual.shape)}, {name} {expected.dtype} "
            f"{list(expected.shape)}. Not published."
        )
    mine, theirs = actual.astype(np.float64), expected.astype(np.float64)
    if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        raise VerificationError(f"{where}: not all values are finite. Not published: export an earlier checkpoint.")
    if actual.dtype == np.uint8:
        pair = float(np.abs(mine - theirs).max()), PIXEL_TOLERANCE if slack == 1.0 else HALF_PIXEL_TOLERANCE
    elif scale:
        allowed = slack * _vector_tolerance(theirs, np.asarray(scale))
        pair = max(zip(np.abs(mine - theirs).max(axis=0).tolist(), allowed.tolist(), strict=True), key=_ratio)
    else:
        size = max(1.0, float(np.abs(theirs).max()))
        allowed_here = slack * RELATIVE_TOLERANCE * size if tolerance is None else tolerance
        pair = float(np.abs(mine - theirs).max()), allowed_here
    if _ratio(pair) > 1.0:
        raise VerificationError(
            f"{where}: the graph differs from {name} by {pair[0]:.3g}, more than {pair[1]:.3g}. Not published."
        )
    return pair


def _vector_tolerance(vectors: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the allowed difference of each value of vectors [N, D]: a share of their spread, at least `scale`: [D]."""
    spread = np.maximum(np.abs(vectors - vectors.mean(axis=0)).max(axis=0), scale)
    last_bit = np.finfo(np.float32).eps * np.abs(vectors).max(axis=0)
    return np.asarray(RELATIVE_TOLERANCE * spread + FLOAT32_STEPS * last_bit, np.float64)


def _ratio(pair: tuple[float, float]) -> float:
    return pair[0] / pair[1]
