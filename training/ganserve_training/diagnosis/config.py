"""Options of a run's diagnosis."""

from dataclasses import dataclass, fields
from typing import Literal

from ganserve_training.options.checks import expect, expect_choices, refusal

QualityName = Literal["auto", "sliced-wasserstein", "mode-coverage", "gan-test", "kid"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisConfig:
    """Checks of a run during training. They do not change the weights, so all may change when a run is resumed."""

    enabled: bool = True
    """Observe the generator and the critic during training."""
    every_steps: int = 200
    """Steps between two looks; a look takes about as long as two to five steps."""
    samples: int = 256
    """Samples of each kind (training, held-out, generated) in one look; fewer are cheaper and noisier."""
    quality: QualityName = "auto"
    """The measure that chooses the best checkpoint and sees a decline. auto: mode coverage where the modes are known,
    else the sliced Wasserstein distance."""
    keep_best: bool = True
    """Keep the checkpoint with the best quality so far, besides the newest ones."""
    patience: int = 0
    """Stop training after this many looks in a row with a declined quality; 0: never."""

    def __post_init__(self) -> None:
        expect_choices(self, "diagnosis")
        expect(self.every_steps >= 1, "diagnosis.every_steps", self.every_steps, "at least 1")
        expect(self.samples >= 16, "diagnosis.samples", self.samples, "at least 16", "A share of fewer says nothing")
        expect(self.patience >= 0, "diagnosis.patience", self.patience, "0 (never stop) or more")
        for item in fields(self):
            value = getattr(self, item.name)
            if not self.enabled and item.name != "enabled" and value != item.default:
                problem = "has no effect while the diagnosis is switched off"
                raise refusal(f"diagnosis.{item.name}", value, problem, "Leave out --diagnosis.no-enabled")
