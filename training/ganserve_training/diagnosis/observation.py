"""Define observations: the numbers that one look at the players gives."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

RegionKind = Literal["modes", "labels", "clusters"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """Numbers of one look at the players, the same for every loss and every kind of data."""

    step: int
    """Training step after which the look was taken."""
    samples_seen: int
    """Real samples that the critic had been shown by then."""
    growing: bool = False
    """True if the networks had not yet faded in their last level; such samples cannot be compared with later ones."""

    critic_loss: float
    """The adversarial loss alone, without penalties."""
    generator_loss: float
    real_accuracy: float
    """Share of training samples that the critic takes for real."""
    held_out_accuracy: float | None
    """Share of held-out real samples that the critic takes for real; None: the data have no held-out samples."""
    fake_accuracy: float
    """Share of generated samples that the critic takes for generated."""
    real_score: float
    """Mean score of training samples."""
    held_out_score: float | None
    """Mean score of held-out real samples."""
    fake_score: float
    """Mean score of generated samples."""

    loss_slope: float
    """Mean of |d generator loss / d score| per generated sample. 1: it passes the whole gradient on; 0: saturated."""
    sample_gradient_norm: float
    """Mean norm of d generator loss / d generated sample."""
    generator_gradient_norm: float
    """Norm of d generator loss / d generator weights."""

    diversity: float
    """Mean distance of two generated samples (of one label) relative to real ones; 0: all are the same. 1 if all real
    ones are equal."""
    offset: float
    """Distance between the centres of generated and real samples, in mean pairwise distances of real ones."""
    centre: tuple[float, ...]
    """Centre of the generated samples relative to that of real ones, in the same unit, at most 8 coordinates."""
    region_kind: RegionKind
    """Kind of the regions: known modes, labels as a judge recognises them, or clusters of the training samples."""
    regions: int
    regions_reached: int
    """Regions whose share of generated samples is at least a tenth of their share of real ones."""
    region_entropy: float
    """Entropy of the generated samples' regions, divided by that of the real samples'."""
    label_agreement: float | None = None
    """Share of generated samples that a judge reads as the label they were asked for, divided by the share of held-out
    real samples that it reads right; None: there are no labels that a judge can read."""

    precision: float | None = None
    """Share of the averaged generator's samples within neighbourhoods of real ones, divided by that of other real ones;
    None: there are too few real samples."""
    recall: float | None = None
    """Share of real samples within neighbourhoods of the averaged generator's, divided by that of other real ones."""

    quality_name: str | None
    """Name of the quality metric; None: no quality was measured."""
    quality: float | None
    """Quality of the averaged generator's samples."""
    untrained_quality: float | None
    higher_is_better: bool

    @property
    def critic_accuracy(self) -> float:
        """Return the mean accuracy on training and generated samples; one half: the critic cannot tell them apart."""
        return (self.real_accuracy + self.fake_accuracy) / 2

    @property
    def is_finite(self) -> bool:
        """Say whether all numbers are finite."""
        numbers = [*(getattr(self, name) for name in _FIELDS), *self.centre]
        return all(math.isfinite(number) for number in numbers if isinstance(number, float))

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON; infinities and NaN become words, because JSON lacks them."""
        values = asdict(self) | {"centre": [_write(value) for value in self.centre]}
        return {name: _write(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        read: dict[str, Any] = {name: _read(values.get(name)) for name in _FIELDS}
        read["growing"] = bool(read["growing"])  # older records lack it
        read["centre"] = tuple(_read(value) for value in values["centre"])
        return cls(**read)


_FIELDS = tuple(field.name for field in fields(Observation))
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _write(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _read(value: Any) -> Any:
    return _WORDS.get(value, value) if isinstance(value, str) else value
