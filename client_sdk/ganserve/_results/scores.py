"""Hold the scores that a call returns."""

# N = samples

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Score(NamedTuple):
    """The score of one sample."""

    score: float
    """The critic's own output, higher for more realistic."""
    probability: float
    """Calibrated probability that the sample is real, 0 to 1."""
    label: str | int | None
    """The label that it was scored for, as given; None without one."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Scores:
    """Scores of samples, in the order of the samples; `len`, iteration and an index give each `Score`."""

    scores: npt.NDArray[np.float32]
    """The critic's own outputs, float32 [N], higher for more realistic."""
    probabilities: npt.NDArray[np.float32]
    """Calibrated probabilities that each sample is real, float32 [N], 0 to 1."""
    labels: tuple[str | int, ...] | None
    """The label that each sample was scored for, as given or as in the picture; None without any."""
    model: str
    """Name of the model whose critic scored."""
    version: int
    """Version of the model whose critic scored."""

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Score]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Score:
        return Score(
            float(self.scores[i]), float(self.probabilities[i]), None if self.labels is None else self.labels[i]
        )

    def __repr__(self) -> str:
        mean = ""
        if len(self):
            mean = f", mean score={self.scores.mean():.3g}, mean probability={self.probabilities.mean():.3f}"
        return f"Scores({len(self)} samples, model={self.model!r}, version={self.version}{mean})"
