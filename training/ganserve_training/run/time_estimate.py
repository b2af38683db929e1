"""Tell how long a run takes, once its first steps are measured."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

TOLD_AFTER_STEPS = 50
_HOUR, _DAY = 3600.0, 86400.0
_UNITS = (("second", 1.0, 100.0), ("minute", 60.0, 100.0), ("hour", _HOUR, 48.0), ("day", _DAY, float("inf")))
"""Units with their seconds, and the number below which each is used."""


@dataclass(slots=True)
class Estimate:
    """Measures the first steps of a run, or of its continuation, from when it is made."""

    first_step: int
    """Step before the first one of this call."""
    steps: int
    """Steps that the run is to have."""
    grows: bool = field(kw_only=True)
    """The networks grow, so that later steps take longer."""
    _started: float = field(default_factory=time.perf_counter)

    def is_due(self, step: int) -> bool:
        """Return whether to print the estimate after this step."""
        return step - self.first_step == TOLD_AFTER_STEPS and step < self.steps

    def sentence(self, step: int) -> str:
        """Return the time that the steps after this one take, and when they end."""
        done, left = step - self.first_step, self.steps - step
        a_step = (time.perf_counter() - self._started) / done
        whole = f"the remaining {self.steps - self.first_step:,} steps" if self.first_step else f"{self.steps:,} steps"
        about, later = ("at least", ", as later steps are slower") if self.grows else ("about", "")
        taken = in_words(a_step * (done + left))
        return f"time: {about} {taken} for {whole} on this machine, until {_clock(a_step * left)}{later}"


def in_words(seconds: float) -> str:
    """Return a duration in words: "40 seconds", "6 minutes", "3.5 hours"."""
    unit, length = next((unit, length) for unit, length, enough in _UNITS if seconds / length < enough)
    value = seconds / length
    shown = f"{value:.1f}".removesuffix(".0") if length >= _HOUR and value < 10 else f"{max(1, round(value)):,}"
    return f"{shown} {unit}{'' if shown == '1' else 's'}"


def _clock(seconds: float) -> str:
    now = datetime.now().astimezone()
    end = now + timedelta(seconds=seconds)
    return end.strftime("%H:%M" if end.date() == now.date() else "%A %H:%M" if seconds < 6 * _DAY else "%Y-%m-%d")
