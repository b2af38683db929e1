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
    """Calibrated probability that the sample is real rather than this generator's, 0 to 1. It says nothing about a
    sample that is neither: see `out_of_distribution`."""
    label: str | int | None
    """The label that it was scored for, as given; None without one."""
    typicality: float | None = None
    """Share of held-out real samples, of any label, that lie at least as far from the training data; None: unknown."""
    out_of_distribution: bool | None = None
    """True if the sample is unlike the training data; None if unknown. For 5 % of real samples it is a false alarm."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Scores:
    """Scores of samples, in the order of the samples; `len`, iteration and an index give each `Score`.

    The critic learned to tell training data from its generator's samples, and nothing about other inputs: a blank image
    can get a high probability. `out_of_distribution` tells such samples.
    """

    scores: npt.NDArray[np.float32]
    """The critic's own outputs, float32 [N], higher for more realistic."""
    probabilities: npt.NDArray[np.float32]
    """Calibrated probabilities that each sample is real rather than this generator's, float32 [N], 0 to 1."""
    labels: tuple[str | int, ...] | None
    """The label that each sample was scored for, as given or as in the picture; None without any."""
    model: str
    """Name of the model whose critic scored."""
    version: int
    """Version of the model whose critic scored."""
    typicality: npt.NDArray[np.float32] | None = None
    """Share of held-out real samples, of any label, that lie at least as far from the training data, float32 [N], more
    than 0, at most 1; None if unknown: the package has no typicality, or the server is older."""
    out_of_distribution: npt.NDArray[np.bool_] | None = None
    """True for each sample that is unlike the training data, bool [N]; None if unknown. Its typicality is at most
    `Typicality.threshold`, so that 5 % of real samples are false alarms."""

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Score]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Score:
        return Score(
            float(self.scores[i]),
            float(self.probabilities[i]),
            None if self.labels is None else self.labels[i],
            None if self.typicality is None else float(self.typicality[i]),
            None if self.out_of_distribution is None else bool(self.out_of_distribution[i]),
        )

    def __repr__(self) -> str:
        mean = ""
        if len(self):
            mean = f", mean score={self.scores.mean():.3g}, mean probability={self.probabilities.mean():.3f}"
        if self.out_of_distribution is not None and self.out_of_distribution.any():
            mean += f", {self.out_of_distribution.sum()} out of distribution"
        count = f"{len(self)} sample{'' if len(self) == 1 else 's'}"
        return f"Scores({count}, model={self.model!r}, version={self.version}{mean})"
