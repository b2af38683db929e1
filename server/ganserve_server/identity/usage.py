"""Count what one caller uses of its quota: two rates, and what runs or waits now."""

from __future__ import annotations

import contextlib
import time
from typing import Protocol

CALLS, QUEUED = 0, 1
"""Counts: calls that run; samples that are asked for and not computed yet."""
REQUESTS, SAMPLES = 0, 1
"""Rates. They refill up to one second's worth, at least 1. A debt is paid back before more is given."""


class Usage(Protocol):
    """The use of one caller. Read and changed inside `locked`."""

    poll_s: float | None
    """Seconds after which a count may have changed in another process; None: there is none."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Let nobody else change it until the block ends."""
        ...

    def own(self, count: int) -> int:
        """Return a count of this process."""
        ...

    def total(self, count: int) -> int:
        """Return a count over all processes."""
        ...

    def add(self, count: int, number: int) -> None:
        """Add to a count."""
        ...

    def set_rate(self, rate: int, per_s: float) -> None:
        """Set a rate; see `changed`."""
        ...

    def wait_s(self, rate: int, needed: float) -> float:
        """Return the seconds until a rate has this much, 0 if it does."""
        ...

    def take(self, rate: int, number: float) -> None:
        """Use up a part of a rate."""
        ...


_UNLOCKED: contextlib.AbstractContextManager[None] = contextlib.nullcontext()


class OwnUsage:
    """The use of one caller in this process alone."""

    poll_s: float | None = None

    def __init__(self) -> None:
        self._counts = [0, 0]
        self._per_s = [0.0, 0.0]
        self._levels = [0.0, 0.0]
        self._at = [0.0, 0.0]

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Return at once: everything runs on one event loop."""
        return _UNLOCKED

    def own(self, count: int) -> int:
        """Return a count."""
        return self._counts[count]

    total = own

    def add(self, count: int, number: int) -> None:
        """Add to a count."""
        self._counts[count] += number

    def set_rate(self, rate: int, per_s: float) -> None:
        """Set a rate; see `changed`."""
        before = self._levels[rate], self._per_s[rate], self._at[rate]
        if self._per_s[rate] != per_s:
            self._levels[rate], self._at[rate] = changed(*before, per_s)
            self._per_s[rate] = per_s

    def wait_s(self, rate: int, needed: float) -> float:
        """Return the seconds until a rate has this much, 0 if it does."""
        per_s = self._per_s[rate]
        self._levels[rate], self._at[rate] = refilled(self._levels[rate], per_s, self._at[rate])
        return max(0.0, (needed - self._levels[rate]) / per_s)

    def take(self, rate: int, number: float) -> None:
        """Use up a part of a rate."""
        self._levels[rate] -= number


def changed(level: float, per_s: float, at: float, new: float) -> tuple[float, float]:
    """Return the level at which a caller's new rate starts, and the time now.

    It is the level that the old rate `per_s` has reached since it had `level`, because tokens of one name, whose roles
    have different quotas, may alternate. Without an old rate the level is full.
    """
    full = max(new, 1.0)
    if not per_s:
        return full, time.monotonic()
    level, now = refilled(level, per_s, at)
    return min(full, level), now


def refilled(level: float, per_s: float, at: float) -> tuple[float, float]:
    """Return the level of a rate now, if it was `level` at the time `at`, and the time now."""
    now = time.monotonic()
    return min(max(per_s, 1.0), level + (now - at) * per_s), now
