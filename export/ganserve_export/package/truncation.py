"""Measure what truncation does to a generator: some scale their latents to one length, so that it changes nothing.

N = batch, Z = latent.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ganserve_export.package.latent_values import LatentValues
from ganserve_export.package.rows_at_once import rows_at_once, samples_to_compare

LEVELS = (1.0, 0.5, 0.1)
_FEWEST, _SEED = 4, 0
_KEPT = 0.9  # of the spread: truncation that leaves more of it at 0.1 does nothing

Draw = Callable[[Tensor], npt.NDArray[np.generic]]
"""Makes samples [N, ...] of one label for latents [N, Z]."""


def truncation_absence(draw: Draw, values: LatentValues, size: int) -> str:
    """Return why truncation is not offered, in words; empty: it is, or latents are not normal and have none anyway.

    `size` is the number of values of a sample; of large ones, fewer are drawn. The words do not depend on the
    truncation, so the same uniform numbers are mapped to each, as the server does.
    """
    if values.distribution != "normal":
        return ""
    random = torch.Generator().manual_seed(_SEED)
    count, rows = samples_to_compare(size, least=_FEWEST), rows_at_once(size)
    latents = values.draw(count, random, at_defaults=True)
    uniform = torch.rand((count, values.prior.dim), generator=random, dtype=torch.float64)
    free = _spread(draw, latents, uniform, None, rows)
    spreads: dict[float, float] = {}
    for level in sorted(LEVELS):  # the strongest first, as it usually tells enough
        spreads[level] = _spread(draw, latents, uniform, level, rows)
        if level < 1.0 and not spreads[level] >= _KEPT * free > 0.0:
            return ""
    measured = ", ".join(f"{spreads[level]:.3g} at {level:g}" for level in LEVELS)
    return (
        f"it changes nothing, as samples vary by {free:.3g} without it and by {measured} (the network scales its "
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
