"""Values that change over a run."""

from __future__ import annotations

import math

from ganserve_training.config import Anneal, ScheduleConfig, TrainConfig
from ganserve_training.config.serialisation import flat_config


def burn_in_progress(schedule: ScheduleConfig, step: int) -> float:
    """Share of the burn-in that has passed at `step`, in [0, 1]."""
    return min(1.0, step / schedule.burn_in_steps)


def anneals(config: TrainConfig) -> bool:
    """Whether any value moves over the burn-in."""
    values = flat_config(config)
    return any(values[path] != values[f"{path.removesuffix('end')}start"] for path in values if path.endswith(".end"))


def anneal(value: Anneal, progress: float) -> float:
    """`value` after `progress` in [0, 1] of the burn-in: from start to end along half a cosine."""
    weight = 0.5 - 0.5 * math.cos(math.pi * progress)
    return value.start + (value.end - value.start) * weight
