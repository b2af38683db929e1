"""Options of a run's diagnosis."""

import math
from dataclasses import dataclass, fields
from typing import Literal

from ganserve_training.options.checks import expect, expect_choices, refusal

LOOKS = 50
"""Looks of a run whose interval follows its length: a trouble of its first five looks is found within a tenth of it."""
_LOOK_COST = 16  # a look of n samples takes a twentieth of the time in which a critic is shown this many times n

QualityName = Literal["auto", "sliced-wasserstein", "mode-coverage", "gan-test", "kid"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisConfig:
    """Checks of a run during training. They do not change the weights, so all may change when a run is resumed."""

    enabled: bool = True
    """Observe the generator and the critic during training."""
    every_steps: int | None = None
    """Steps between two looks. None: a fiftieth of the run, or more if looks would take over 5 % of its time."""
    samples: int = 256
    """Samples of each kind (training, held-out, generated) in one look; fewer are cheaper and noisier."""
    quality: QualityName = "auto"
    """The measure that chooses the best checkpoint and sees a decline. auto: mode coverage where the modes are known,
    else the sliced Wasserstein distance."""
    keep_best: bool = True
    """Keep the checkpoint with the best quality so far, besides the newest ones."""
    patience: int = 0
    """Stop training after this many looks in a row with a declined quality; 0: never."""

    def interval(self, steps: int, samples_per_step: int) -> int:
        """Return the steps between two looks, for a run of `steps` that shows the critic so many samples in each."""
        if self.every_steps is not None:
            return self.every_steps
        return max(math.ceil(steps / LOOKS), math.ceil(_LOOK_COST * self.samples / samples_per_step))

    def __post_init__(self) -> None:
        expect_choices(self, "diagnosis")
        every = self.every_steps
        expect(every is None or every >= 1, "diagnosis.every_steps", every, "at least 1")
        expect(self.samples >= 16, "diagnosis.samples", self.samples, "at least 16", "A share of fewer says nothing")
        expect(self.patience >= 0, "diagnosis.patience", self.patience, "0 (never stop) or more")
        for item in fields(self):
            value = getattr(self, item.name)
            if not self.enabled and item.name != "enabled" and value != item.default:
                problem = "has no effect while the diagnosis is switched off"
                raise refusal(f"diagnosis.{item.name}", value, problem, "Leave out --diagnosis.no-enabled")
