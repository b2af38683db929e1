"""What to learn."""

from dataclasses import dataclass
from typing import Literal

from ganserve_training.config._checks import expect, expect_seed

SourceName = Literal["digits"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What to learn."""

    source: SourceName = "digits"
    """digits: the 1,797 handwritten digits, 8 x 8 gray, that scikit-learn bundles."""
    held_out_fraction: float = 0.2
    """Share of the samples, stratified by label, that training never sees; the judge tests on them."""
    split_seed: int = 0
    """Seed of the split; runs with the same value hold out the same samples."""

    def __post_init__(self) -> None:
        expect(0.0 < self.held_out_fraction < 1.0, "data.held_out_fraction", self.held_out_fraction, "between 0 and 1")
        expect_seed("data.split_seed", self.split_seed)
