"""What is done to every sample before the critic sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ganserve_training.config._checks import expect, expect_not_negative
from ganserve_training.config.anneal import Anneal

CHANGES = ("translation_px", "cutout_fraction", "brightness", "saturation", "contrast")
"""What can be done to an image; noise can be added to all samples."""


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
        expect(0.0 <= self.target < 1.0, "augmentation.ada.target", self.target, "from 0 (off) to below 1")
        expect(self.kimg > 0.0, "augmentation.ada.kimg", self.kimg, "positive")
        expect(self.every_steps >= 1, "augmentation.ada.every_steps", self.every_steps, "at least 1")
        for name, default in (("kimg", 500.0), ("every_steps", 4)):
            expect(
                self.target > 0.0 or getattr(self, name) == default,
                f"augmentation.ada.{name}",
                getattr(self, name),
                f"left at {default} while augmentation.ada.target is 0, which switches the controller off: the paper's "
                "target is 0.6",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """What is done to every sample, real or generated, before the critic sees it (DiffAugment, Zhao et al. 2020)."""

    translation_px: int = 0
    """Shift by a random whole number of pixels up to this, filled with the background; the paper: an eighth of the
    side. 0: off."""
    cutout_fraction: float = 0.0
    """Paint a square of this share of the side, at a random place, in mid-gray; the paper: 0.5. 0: off."""
    brightness: float = 0.0
    """Add a number from U(-b, b) to a sample, in units of half the range; the paper: 0.5. 0: off."""
    saturation: float = 0.0
    """Scale each pixel's distance from its gray by U(1 - s, 1 + s), RGB and RGBA only; the paper: 1. 0: off."""
    contrast: float = 0.0
    """Scale each value's distance from the sample's mean by U(1 - c, 1 + c); the paper: 0.5. 0: off."""
    probability: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Of each augmentation, for each sample independently. With `ada.target` it must be left at 1."""
    ada: AdaConfig = field(default_factory=AdaConfig)
    instance_noise: Anneal = field(default_factory=lambda: Anneal.constant(0.0))
    """Standard deviation of noise added to every sample last, in the networks' units (Sonderby et al. 2017; Arjovsky &
    Bottou 2017); anneal it to 0. Probability does not apply to it."""

    def __post_init__(self) -> None:
        expect(self.translation_px >= 0, "augmentation.translation_px", self.translation_px, "not negative")
        expect(
            0.0 <= self.cutout_fraction < 1.0,
            "augmentation.cutout_fraction",
            self.cutout_fraction,
            "from 0 (off) to below 1",
        )
        for name in ("brightness", "saturation", "contrast", "instance_noise"):
            expect_not_negative(f"augmentation.{name}", getattr(self, name))
        low, high = min(self.probability.start, self.probability.end), self.probability.most
        expect(low >= 0.0 and high <= 1.0, "augmentation.probability", self.probability, "from 0 to 1")
        expect(
            self.on_samples or self.probability == Anneal.constant(1.0),
            "augmentation.probability",
            self.probability,
            f"left at 1 while no augmentation is on: switch on {_any_change()} (it does not apply to "
            "augmentation.instance_noise)",
        )
        if self.ada.target > 0.0:
            expect(
                self.probability == Anneal.constant(1.0),
                "augmentation.probability",
                self.probability,
                "left at 1 where augmentation.ada.target sets a controller: it decides the probability",
            )
            expect(
                self.on_samples,
                "augmentation.ada.target",
                self.ada.target,
                f"0 unless there is something to adapt: switch on {_any_change()}",
            )

    @property
    def on_samples(self) -> bool:
        """Whether any augmentation but the noise is on."""
        return any(getattr(self, name) for name in CHANGES)


def _any_change() -> str:
    *names, last = (f"augmentation.{name}" for name in CHANGES)
    return f"{', '.join(names)} or {last}"
