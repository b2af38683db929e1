"""Define features: what a network, or nothing but the values themselves, makes of samples.

N = samples, H, W, C = image, D = values of a sample, F = features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ganserve_training.data.flat_values import averaged_px, flat_values
from ganserve_training.data.sample_info import DataInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """A way to compute features, with what a report says about it: other features give other figures."""

    name: str
    """Name such as pixels or classifier, or the file's name."""
    sha256: str | None
    """Digest of the network's file or weights; None: no network."""
    resizer: str
    """Description of how images are resized for the network."""
    extract: Callable[[NDArray[Any]], NDArray[Any]]
    """Samples uint8 [N, H, W, C] or float32 [N, D] -> features float [N, F]."""


def plain_features(info: DataInfo) -> Features:
    """Return the values themselves: images averaged down to at most 31 pixels a side, or standardised vectors."""
    if not info.is_image:
        return Features(name="values", sha256=None, resizer="none", extract=lambda samples: flat_values(samples, info))
    down, right = averaged_px(info)
    resizer = "none" if (down, right) == (1, 1) else f"average over {down} x {right} pixels"
    return Features(name="pixels", sha256=None, resizer=resizer, extract=lambda samples: flat_values(samples, info))
