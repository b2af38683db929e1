"""The controller of adaptive discriminator augmentation (Karras et al. 2020, section 3.1)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganserve_training.options.checks import expect, expect_at_least, refusal
from ganserve_training.run.distributed import Processes


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaConfig:
    """The controller of adaptive discriminator augmentation (Karras et al. 2020).

    It raises the probability of every augmentation while the critic overfits. Relativistic losses
    can't use it.
    """

    target: float = 0.0
    """Value at which the controller keeps E sign(D(real)); the paper uses 0.6. 0: no controller."""
    kimg: float = 500.0
    """Thousands of real samples over which the probability can rise from 0 to 1."""
    every_steps: int = 4
    """Steps between adjustments of the probability."""

    def __post_init__(self) -> None:
        path = "augmentation.ada"
        expect(0.0 <= self.target < 1.0, f"{path}.target", self.target, "from 0 (off) to below 1")
        expect(self.kimg > 0.0, f"{path}.kimg", self.kimg, "positive")
        expect_at_least(1, self, path, "every_steps")
        for name, default in (("kimg", 500.0), ("every_steps", 4)):
            value = getattr(self, name)
            if self.target == 0.0 and value != default:
                fix = "Add --augmentation.ada.target 0.6, as in the paper"
                raise refusal(f"{path}.{name}", value, "has no effect while --augmentation.ada.target is 0", fix)


class AdaController:
    """Adjusts the probability of augmentation so that E sign(D(real)), which measures overfitting, stays at its target.

    Every `every_steps` steps: p += sign(E sign(D(real)) - target) * samples / (1000 kimg), kept in [0, 1].
    """

    def __init__(self, config: AdaConfig, processes: Processes) -> None:
        self._config = config
        self._processes = processes
        self.probability = 0.0
        """p, the current probability."""
        self._signs: list[Tensor] = []
        self._samples = 0

    def watch(self, real_scores: Tensor, threshold: Tensor, samples: int) -> None:
        """Record the scores [N] of augmented real samples in one update of the critic.

        Scores above `threshold` mean "real"; `samples` counts the real samples of this update in all processes.
        """
        self._signs.append((real_scores - threshold).sign().mean())
        self._samples += samples

    def adjust(self, step: int) -> None:
        """Adjust the probability after step `step` (from 1), if it is time."""
        if step % self._config.every_steps or not self._signs:
            return
        self.share()
        direction = float(torch.sign(torch.stack(self._signs).mean() - self._config.target))
        moved = self.probability + direction * self._samples / (self._config.kimg * 1000.0)
        self.probability = min(1.0, max(0.0, moved))
        self._signs.clear()
        self._samples = 0

    def share(self) -> None:
        """Average the processes' records since the last adjustment; repeating it has no effect."""
        if self._signs:
            device = self._signs[-1].device  # Those of a checkpoint may be on another device.
            signs = torch.stack([sign.to(device) for sign in self._signs])
            self._processes.average([signs])
            self._signs = list(signs)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that the next adjustment depends on."""
        return {"probability": self.probability, "signs": list(self._signs), "samples": self._samples}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        self.probability = state["probability"]
        self._signs = list(state["signs"])
        self._samples = state["samples"]
