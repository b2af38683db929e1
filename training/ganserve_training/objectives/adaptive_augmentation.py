"""The controller of adaptive discriminator augmentation (Karras et al. 2020, section 3.1)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganserve_training.options.checks import expect, refusal
from ganserve_training.run.distributed import Processes


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaConfig:
    """The controller of adaptive discriminator augmentation (Karras et al. 2020).

    It raises the probability of every augmentation while the critic is too sure of real samples. Its signal does not
    fit relativistic losses.
    """

    target: float = 0.0
    """Where E sign(D(real)) is kept; the paper's is 0.6. 0: no controller, `probability` is a schedule."""
    kimg: float = 500.0
    """Thousand real samples in which the probability can rise from 0 to 1."""
    every_steps: int = 4
    """Steps between adjustments."""

    def __post_init__(self) -> None:
        path = "augmentation.ada"
        expect(0.0 <= self.target < 1.0, f"{path}.target", self.target, "from 0 (off) to below 1")
        expect(self.kimg > 0.0, f"{path}.kimg", self.kimg, "positive")
        expect(self.every_steps >= 1, f"{path}.every_steps", self.every_steps, "at least 1")
        for name, default in (("kimg", 500.0), ("every_steps", 4)):
            value = getattr(self, name)
            if self.target == 0.0 and value != default:
                fix = "Add --augmentation.ada.target 0.6, as in the paper"
                raise refusal(f"{path}.{name}", value, "has no effect while --augmentation.ada.target is 0", fix)


class AdaController:
    """Moves the probability of augmentation so that E sign(D(real)), a sign of overfitting, stays at its target.

    Every `every_steps` steps: p += sign(E sign(D(real)) - target) * samples / (1000 kimg), kept in [0, 1].

    Args:
        config: Target and speed.
        processes: Which average what each has seen.
    """

    def __init__(self, config: AdaConfig, processes: Processes) -> None:
        self._config = config
        self._processes = processes
        self.probability = 0.0
        """p, now."""
        self._signs: list[Tensor] = []
        self._samples = 0

    def watch(self, real_scores: Tensor, threshold: Tensor, samples: int) -> None:
        """Take note of one update of the critic.

        Args:
            real_scores: Of augmented real samples, [N].
            threshold: The score above which the critic takes a sample for real.
            samples: Real samples that all processes showed in this update.
        """
        self._signs.append((real_scores - threshold).sign().mean())
        self._samples += samples

    def adjust(self, step: int) -> None:
        """After step `step`, counted from 1: adjust if it is time."""
        if step % self._config.every_steps or not self._signs:
            return
        self.share()
        direction = float(torch.sign(torch.stack(self._signs).mean() - self._config.target))
        moved = self.probability + direction * self._samples / (self._config.kimg * 1000.0)
        self.probability = min(1.0, max(0.0, moved))
        self._signs.clear()
        self._samples = 0

    def share(self) -> None:
        """Make what was seen since the last adjustment that of all processes; to do it again changes nothing."""
        if self._signs:
            device = self._signs[-1].device  # Those of a checkpoint may lie elsewhere.
            signs = torch.stack([sign.to(device) for sign in self._signs])
            self._processes.average([signs])
            self._signs = list(signs)

    def state_dict(self) -> dict[str, Any]:
        """Return what the next adjustment depends on."""
        return {"probability": self.probability, "signs": list(self._signs), "samples": self._samples}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.probability = state["probability"]
        self._signs = list(state["signs"])
        self._samples = state["samples"]
