"""Count how many of a distribution's known modes a generator reaches. N = samples, K = modes."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.evaluation.metric import Figure, Material, Metric
from ganserve_training.evaluation.modes import WITH_MODES, Modes


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeCoverage:
    """Three figures of PacGAN (Lin et al. 2018)."""

    modes: int
    """Number of modes with a high-quality sample nearest to them."""
    high_quality: float
    """Share of high-quality samples."""
    reverse_kl: float
    """KL(generated || uniform) in nats, over the nearest modes of all samples; ln K if all are at one mode."""


def mode_coverage(samples: NDArray[Any], modes: Modes) -> ModeCoverage:
    """Count the modes that `samples` [N, ...] reach.

    The published figures are for 2,500 samples (1,000 modes: 26,000); fewer raise the KL by about (K - 1) / 2N.
    """
    nearest, high_quality = modes.assign(samples)
    counts = np.bincount(nearest, minlength=modes.count)
    return ModeCoverage(
        modes=len(np.unique(nearest[high_quality])),
        high_quality=float(high_quality.mean()),
        reverse_kl=_divergence(counts, np.full(modes.count, 1.0 / modes.count)),
    )


def mode_divergence(samples: NDArray[Any], modes: Modes) -> float:
    """Return KL(generated || real) in nats over K + 1 cells: each mode's high-quality samples, and all other samples.

    It rises when modes are lost and when samples lie between modes, so it can choose a checkpoint; the reverse KL over
    nearest modes misses the samples between modes.
    """
    nearest, high_quality = modes.assign(samples)
    counts = np.append(np.bincount(nearest[high_quality], minlength=modes.count), np.sum(~high_quality))
    inside = modes.real_high_quality
    return _divergence(counts, np.append(np.full(modes.count, inside / modes.count), 1.0 - inside))


def _divergence(counts: NDArray[Any], expected: NDArray[np.float64]) -> float:
    """Return KL(counts / N || expected) in nats."""
    seen = counts > 0
    shares = counts[seen] / counts.sum()
    return max(0.0, float(np.sum(shares * np.log(shares / expected[seen]))))


def _measure(material: Material) -> dict[str, float]:
    assert material.modes is not None
    found = asdict(mode_coverage(material.samples, material.modes))
    return {**found, "mode_divergence": mode_divergence(material.samples, material.modes)}


METRIC = Metric(
    name="mode-coverage",
    measure=_measure,
    figures={
        "modes": Figure("modes", "modes that a good sample reaches", "share", ".0f"),
        "high_quality": Figure("high quality", "share of samples within 3 standard deviations of a mode", "share"),
        "reverse_kl": Figure("reverse KL", "unevenness of the modes, in nats", "squared-distance"),
        "mode_divergence": Figure(
            "mode divergence", "how unevenly modes and the space between them are reached, in nats", "squared-distance"
        ),
    },
    missing=lambda traits: "" if traits.has_modes else f"data whose modes are known: {', '.join(WITH_MODES)}",
    by_default=lambda traits: True,  # noqa: ARG005
    position=9,
)
