"""Make observations for tests of the diagnosis."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ganserve_training.diagnosis import Observation

HEALTHY = Observation(
    step=200,
    samples_seen=12_800,
    critic_loss=1.2,
    generator_loss=0.8,
    real_accuracy=0.7,
    held_out_accuracy=0.68,
    fake_accuracy=0.7,
    real_score=0.5,
    held_out_score=0.48,
    fake_score=-0.5,
    loss_slope=0.6,
    sample_gradient_norm=0.2,
    generator_gradient_norm=1.0,
    diversity=0.95,
    offset=0.05,
    centre=(0.03, 0.04),
    region_kind="clusters",
    regions=20,
    regions_reached=19,
    region_entropy=0.98,
    quality_name="sliced_wasserstein",
    quality=0.1,
    untrained_quality=1.0,
    higher_is_better=False,
)
"""An observation of a healthy run in the middle of training."""


def history(count: int, **series: Any) -> list[Observation]:
    """Return `count` looks at a healthy run, 200 steps apart; each of `series` is one value or a list."""
    return [
        replace(HEALTHY, step=200 * (index + 1), **{name: _at(values, index) for name, values in series.items()})
        for index in range(count)
    ]


def _at(values: Any, index: int) -> Any:
    return values[index] if isinstance(values, Sequence) and not isinstance(values, tuple | str) else values
