"""Measure what truncation does to a generator: some scale their latents to one length, so that it changes nothing.

N = batch, Z = latent.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganserve_export.package.latent_values import LatentValues

LEVELS = (1.0, 0.5, 0.1)
_SAMPLES, _SEED = 64, 0
_KEPT = 0.9  # of the spread: truncation that leaves more of it at 0.1 does nothing

Draw = Callable[[Tensor], npt.NDArray[np.generic]]
"""Makes samples [N, ...] of one label for latents [N, Z]."""


def truncation_absence(draw: Draw, values: LatentValues, rows: int) -> str:
    """Return why truncation is not offered, in words; empty: it is, or latents are not normal and have none anyway.

    `draw` gets at most `rows` latents at once. The words do not depend on the truncation, so the same uniform numbers
    are mapped to each, as the server does.
    """
    if values.distribution != "normal":
        return ""
    random = torch.Generator().manual_seed(_SEED)
    count = max(4, min(_SAMPLES, rows * 4))
    latents = values.draw(count, random, at_defaults=True)
    uniform = torch.rand((count, values.prior.dim), generator=random, dtype=torch.float64)
    spreads = [_spread(draw, latents, uniform, truncation, rows) for truncation in (None, *LEVELS)]
    if not spreads[0] > 0.0 or min(spreads[-2:]) < _KEPT * spreads[0]:
        return ""
    measured = ", ".join(f"{spread:.3g} at {level:g}" for spread, level in zip(spreads[1:], LEVELS, strict=True))
    return (
        f"it changes nothing, as samples vary by {spreads[0]:.3g} without it and by {measured} (the network scales its "
        "latents itself)"
    )


def _spread(draw: Draw, latents: Tensor, uniform: Tensor, truncation: float | None, rows: int) -> float:
    """Return the mean deviation of each value over the samples."""
    tail = 0.0 if truncation is None else float(torch.special.ndtr(torch.tensor(-truncation, dtype=torch.float64)))
    mapped = torch.special.ndtri((tail + uniform * (1 - 2 * tail)).clamp(1e-12, 1 - 1e-12)).to(torch.float32)
    given = torch.cat([mapped, latents[:, mapped.shape[1] :]], dim=1)
    count = 0
    sums: npt.NDArray[np.float64] = np.zeros(())
    square_sums: npt.NDArray[np.float64] = np.zeros(())
    for start in range(0, len(given), rows):
        samples = draw(given[start : start + rows]).astype(np.float64)
        count += len(samples)
        sums = sums + samples.sum(axis=0)
        square_sums = square_sums + (samples**2).sum(axis=0)
    variance = np.maximum(square_sums / count - (sums / count) ** 2, 0.0)
    return float(np.sqrt(variance).mean())
