"""What one look at the players saw."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

RegionKind = Literal["modes", "labels", "clusters"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What one look at the players saw, in plain numbers: the same for every loss and every kind of data."""

    step: int
    """Training step after which it was taken."""
    samples_seen: int
    """Real samples that the critic had been shown by then."""
    growing: bool = False
    """Whether the networks had yet to fade their last level in: such samples are no measure for later ones."""

    critic_loss: float
    """The adversarial loss alone, without penalties."""
    generator_loss: float
    """The same for the generator."""
    real_accuracy: float
    """Share of training samples that the critic takes for real."""
    held_out_accuracy: float | None
    """Share of held-out real samples that the critic takes for real; None: the data have none."""
    fake_accuracy: float
    """Share of generated samples that the critic takes for generated."""
    real_score: float
    """Mean score of training samples."""
    held_out_score: float | None
    """Mean score of held-out real samples."""
    fake_score: float
    """Mean score of generated samples."""

    loss_slope: float
    """Mean of |d generator loss / d score| per generated sample: 1 where the loss passes the critic's gradient on in
    full, 0 where it has saturated."""
    sample_gradient_norm: float
    """Mean norm of d generator loss / d generated sample: what the critic tells the generator."""
    generator_gradient_norm: float
    """Norm of d generator loss / d generator weights."""

    diversity: float
    """Mean pairwise distance of generated samples, divided by that of real ones; with labels, of pairs that share
    theirs. 1: as varied as the data; 0: all the same."""
    offset: float
    """Distance between the centres of generated and of real samples, in mean pairwise distances of real ones."""
    centre: tuple[float, ...]
    """The centre of the generated samples relative to that of real ones, in the same unit, at most 8 coordinates."""
    region_kind: RegionKind
    """What the regions are: known modes of the distribution, the data's labels as a judge reads them, or clusters of
    the training samples."""
    regions: int
    """How many there are."""
    regions_reached: int
    """How many get at least a tenth of the share of generated samples that they have of real ones."""
    region_entropy: float
    """Entropy of the generated samples' regions, divided by that of the real ones'."""

    quality_name: str | None
    """What quality was measured; None: none."""
    quality: float | None
    """Of the averaged generator's samples."""
    untrained_quality: float | None
    """Of the samples that the run began with."""
    higher_is_better: bool
    """For quality."""

    @property
    def critic_accuracy(self) -> float:
        """Mean of the accuracies on training and on generated samples; one half: the critic can't tell."""
        return (self.real_accuracy + self.fake_accuracy) / 2

    @property
    def is_finite(self) -> bool:
        """Whether every number is one."""
        numbers = (getattr(self, field.name) for field in dataclasses.fields(self))
        return all(math.isfinite(number) for number in numbers if isinstance(number, float)) and all(
            map(math.isfinite, self.centre)
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able form; JSON has no infinities and no NaN, they become words."""
        values = dataclasses.asdict(self)
        values["centre"] = [_write(value) for value in self.centre]
        return {name: _write(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Observation:
        """The inverse of `to_dict`."""
        read: dict[str, Any] = {name: _read(values.get(name)) for name in _FIELDS}
        read["growing"] = bool(read["growing"])  # Older records lack it.
        read["centre"] = tuple(_read(value) for value in values["centre"])
        return cls(**read)


_FIELDS = tuple(field.name for field in dataclasses.fields(Observation))
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _write(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _read(value: Any) -> Any:
    return _WORDS.get(value, value) if isinstance(value, str) else value
