"""How long a section may take, and what it left out when that was over."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclasses.dataclass
class Budget:
    """Seconds from now on."""

    seconds: float
    began: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """What is left of it; negative once it is over."""
        return self.began + self.seconds - time.monotonic()

    def part(self, share: float) -> Budget:
        """A part of what is left."""
        return Budget(max(0.0, self.left_s) * share)


def call_seconds(call: Callable[[], object], seconds: float, *, warm: int = 3, least: int = 3) -> list[float]:
    """Returns how long calls took, for so many seconds; the first ones search, allocate, compile and capture.

    A call must wait for the device itself.
    """
    for _ in range(warm):
        call()
    taken = []
    end = time.perf_counter() + seconds
    while len(taken) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def speed(taken: list[float], samples: int) -> dict[str, float]:
    """What calls of so many samples each amount to."""
    middle = statistics.median(taken)
    return {"calls": len(taken), "ms": middle * 1e3, "samples_per_s": samples / middle}
