"""How a run is watched."""

from dataclasses import dataclass, fields
from typing import Literal

from ganserve_training.options.checks import expect, expect_choices, refusal

QualityName = Literal["auto", "sliced-wasserstein", "mode-coverage", "gan-test", "kid"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisConfig:
    """How a run is watched. None of it changes the weights, so all of it may change when a run is resumed."""

    enabled: bool = True
    """Whether to look at the players at all."""
    every_steps: int = 200
    """Steps between two looks; one look costs about as much as two to five steps."""
    samples: int = 256
    """Samples of each kind (training, held-out, generated) that one look takes; fewer are cheaper and noisier."""
    quality: QualityName = "auto"
    """The measure that chooses the best checkpoint and sees a decline. auto: mode coverage where the modes are known,
    else the sliced Wasserstein distance."""
    keep_best: bool = True
    """Whether checkpoints/best.pt keeps what had the best quality so far."""
    patience: int = 0
    """Training stops by itself after that many looks in a row at a quality that has declined; 0: never."""

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
