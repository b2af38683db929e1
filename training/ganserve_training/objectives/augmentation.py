"""Differentiable augmentation of the samples that the critic sees. N = batch, C, H, W = image.

Each sample changes independently, with a probability, and gradients flow through the change (DiffAugment, Zhao et al.
2020). Real and generated samples get the same kinds of changes, in the updates of both networks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.objectives.adaptive_augmentation import AdaConfig
from ganserve_training.options.anneal import Anneal
from ganserve_training.options.checks import expect, expect_at_least, expect_not_negative, flag, refusal
from ganserve_training.run.random_state import Noise

CHANGES = ("translation_px", "cutout_fraction", "brightness", "saturation", "contrast")
"""Options that each switch on a change of images. Noise is separate: it works for vectors, too."""
BACKGROUND = -1.0  # Black in the networks' range; fills what a shift leaves empty.
MID_GRAY = 0.0  # Fills cut-out squares.


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """Changes of every sample, real or generated, before the critic sees it (DiffAugment, Zhao et al. 2020)."""

    translation_px: int = 0
    """Shift images by up to this many pixels, at random, and fill in black; the paper uses an eighth of the side.
    0: off."""
    cutout_fraction: float = 0.0
    """Paint a gray square of this share of the side at a random place; the paper uses 0.5. 0: off."""
    brightness: float = 0.0
    """b: add a random number from -b to b to an image, where the range of values is 2; the paper uses 0.5. 0: off."""
    saturation: float = 0.0
    """s: scale each pixel's distance from its gray by 1 - s to 1 + s, at random; the paper uses 1. For colour images.
    0: off."""
    contrast: float = 0.0
    """c: scale each value's distance from the image's mean by 1 - c to 1 + c, at random; the paper uses 0.5. 0: off."""
    probability: Anneal = field(default_factory=lambda: Anneal.constant(1.0))
    """Probability of each augmentation, for each sample independently. Leave it at 1 with --augmentation.ada.target."""
    ada: AdaConfig = field(default_factory=AdaConfig)
    """Adaptive augmentation (ADA): a controller chooses the probability."""
    instance_noise: Anneal = field(default_factory=lambda: Anneal.constant(0.0))
    """Standard deviation of noise that is added to every sample last, where images range from -1 to 1 (Sonderby et al.
    2017; Arjovsky & Bottou 2017). Let it end at 0. The probability does not apply to it."""

    def __post_init__(self) -> None:
        expect_at_least(0, self, "augmentation", "translation_px")
        cutout = self.cutout_fraction
        expect(0.0 <= cutout < 1.0, "augmentation.cutout_fraction", cutout, "from 0 (off) to below 1")
        for name in ("brightness", "saturation", "contrast", "instance_noise"):
            expect_not_negative(f"augmentation.{name}", getattr(self, name))
        path, probability, adapted = "augmentation.probability", self.probability, self.ada.target > 0.0
        expect(probability.least >= 0.0 and probability.most <= 1.0, path, probability, "from 0 to 1")
        changes = f"Switch on one of {', '.join(flag(f'augmentation.{name}') for name in CHANGES)}"
        if not self.on_samples and probability != Anneal.constant(1.0):
            raise refusal(path, probability, "has no effect while no augmentation is on", changes)
        if not self.on_samples and adapted:
            raise refusal("augmentation.ada.target", self.ada.target, "has no augmentation to adapt", changes)
        if adapted and probability != Anneal.constant(1.0):
            problem = "has no effect while --augmentation.ada.target lets a controller choose the probability"
            raise refusal(path, probability, problem, "Leave out either")

    @property
    def on_samples(self) -> bool:
        """True if any augmentation except the noise is on."""
        return any(getattr(self, name) for name in CHANGES)


_Change = Callable[[Tensor, Any, Noise], Tensor]
"""Images [N, C, H, W], how strong, random numbers -> changed images."""


class Augmentation:
    """Changes each sample at random; refuses changes that do not suit the data."""

    def __init__(self, config: AugmentationConfig, data: DataInfo, noise: Noise) -> None:
        check_augmentation(config, data)
        self._config = config
        self._noise = noise
        self._full_width = data.width if data.is_image else 0

    def __call__(self, samples: Tensor, probability: float, noise_std: float) -> Tensor:
        """Return changed samples, [N, C, H, W] (smaller than the data's while networks grow) or [N, D] (noise only)."""
        config, noise = self._config, self._noise
        if probability > 0.0 and config.on_samples:
            # Pixels of the full image: while networks grow, the same share of a smaller one.
            most_px = round(config.translation_px * samples.shape[-1] / self._full_width)
            changes: tuple[tuple[Any, _Change], ...] = (
                (config.brightness, random_brightness),
                (config.saturation, random_saturation),
                (config.contrast, random_contrast),
                (most_px, random_translation),
                (config.cutout_fraction, random_cutout),
            )
            for strength, change in changes:
                if strength:
                    samples = self._sometimes(samples, change(samples, strength, noise), probability)
        if noise_std > 0.0:
            samples = samples + noise.normal(*samples.shape).to(samples.dtype) * noise_std
        return samples

    def _sometimes(self, before: Tensor, after: Tensor, probability: float) -> Tensor:
        if probability >= 1.0:
            return after
        changed = self._noise.uniform(before.shape[0], 1, 1, 1) < probability
        return torch.where(changed, after, before)


def random_brightness(images: Tensor, most: float, noise: Noise) -> Tensor:
    """Add U(-most, most) to all colours of an image [N, C, H, W]; alpha stays."""
    shift = (noise.uniform(images.shape[0], 1, 1, 1).to(images.dtype) * 2.0 - 1.0) * most
    return _colours_changed(images, _colours(images) + shift)


def random_saturation(images: Tensor, most: float, noise: Noise) -> Tensor:
    """Scale each pixel's distance from its own gray (mean colour) by U(1 - most, 1 + most); alpha stays."""
    return _spread_changed(images, most, noise, axes=(1,))


def random_contrast(images: Tensor, most: float, noise: Noise) -> Tensor:
    """Scale each value's distance from the image's mean by U(1 - most, 1 + most); alpha stays."""
    return _spread_changed(images, most, noise, axes=(1, 2, 3))


def random_translation(images: Tensor, most_px: int, noise: Noise) -> Tensor:
    """Shift each image [N, C, H, W] by up to `most_px` pixels along both axes; background fills the gap."""
    count = images.shape[0]
    shifts = noise.integers(-most_px, most_px + 1, count, 2)
    return _shift(_shift(images, shifts[:, 0], 2), shifts[:, 1], 3)


def random_cutout(images: Tensor, fraction: float, noise: Noise) -> Tensor:
    """Paint a rectangle of `fraction` of height and width in mid-gray, centred anywhere in the image [N, C, H, W]."""
    count, _, height, width = images.shape
    inside = None
    for axis, size in ((2, height), (3, width)):
        length = max(1, int(size * fraction + 0.5))
        # The centre may lie at the edge; parts of the rectangle then fall outside. An even length has its centre
        # between two pixels, and so one more possible place.
        first = noise.integers(-(length // 2), size - length // 2 + 1 - length % 2, count).view(-1, 1, 1, 1)
        place = _places(images, axis)
        hit = (place >= first) & (place < first + length)
        inside = hit if inside is None else inside & hit
    assert inside is not None
    return torch.where(inside, MID_GRAY, images)


def _colours(images: Tensor) -> Tensor:
    """Return the channels without alpha: 1 of 1 or 2, 3 of 3 or 4."""
    return images[:, : 3 if images.shape[1] > 2 else 1]


def _colours_changed(images: Tensor, colours: Tensor) -> Tensor:
    alpha = images[:, colours.shape[1] :]
    return torch.cat([colours, alpha], dim=1) if alpha.shape[1] else colours


def _spread_changed(images: Tensor, most: float, noise: Noise, axes: tuple[int, ...]) -> Tensor:
    colours = _colours(images)
    centre = colours.mean(dim=axes, keepdim=True)
    factor = 1.0 + (noise.uniform(images.shape[0], 1, 1, 1).to(images.dtype) * 2.0 - 1.0) * most
    return _colours_changed(images, centre + (colours - centre) * factor)


def _places(images: Tensor, axis: int) -> Tensor:
    """Return 0, 1, … along `axis` of images [N, C, H, W]; the other axes are 1."""
    places = torch.arange(images.shape[axis], device=images.device)
    return places.view([-1 if index == axis else 1 for index in range(4)])


def _shift(images: Tensor, shifts: Tensor, axis: int) -> Tensor:
    """Move image n by shifts[n] along `axis`."""
    size = images.shape[axis]
    source = _places(images, axis) - shifts.view(-1, 1, 1, 1)
    inside = (source >= 0) & (source < size)
    index = source.clamp(0, size - 1).expand_as(images)
    return torch.where(inside, images.gather(axis, index), BACKGROUND)


def check_augmentation(config: AugmentationConfig, data: DataInfo) -> None:
    """Refuse changes that do not suit these data: of vectors, of the colours of gray images, too large a shift."""
    if not config.on_samples:
        return
    if not data.is_image:
        on = next(name for name in CHANGES if getattr(config, name))
        problem = "changes images, and these data are vectors"
        fix = "Leave it out; --augmentation.instance-noise.start works for vectors, too"
        raise refusal(f"augmentation.{on}", getattr(config, on), problem, fix)
    if config.saturation and data.channels < 3:
        problem = f"needs colours, and these images have {data.channels} channel(s)"
        raise refusal("augmentation.saturation", config.saturation, problem, "Leave it out")
    side, shift = min(data.height, data.width), config.translation_px
    expected = f"less than the images' side, {side}"
    expect(shift < side, "augmentation.translation_px", shift, expected, "An eighth of the side is usual")
