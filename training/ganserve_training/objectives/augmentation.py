"""Differentiable augmentation: what the critic sees of every sample. N = batch, C, H, W = image.

Every change is made to each sample on its own, with a probability, and gradients flow through it (DiffAugment, Zhao et
al. 2020). The same changes meet real and generated samples, in the critic's updates and in the generator's.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.objectives.adaptive_augmentation import AdaConfig
from ganserve_training.options.anneal import Anneal
from ganserve_training.options.checks import expect, expect_not_negative, flag, refusal
from ganserve_training.run.random_state import Noise

CHANGES = ("translation_px", "cutout_fraction", "brightness", "saturation", "contrast")
"""Options that each switch on a change of images; noise can be added to all samples."""
BACKGROUND = -1.0  # Black, in the networks' range: what is shifted in.
MID_GRAY = 0.0  # What cut-out squares show.


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
    """The controller of the probability."""
    instance_noise: Anneal = field(default_factory=lambda: Anneal.constant(0.0))
    """Standard deviation of noise added to every sample last, in the networks' units (Sonderby et al. 2017; Arjovsky &
    Bottou 2017); anneal it to 0. Probability does not apply to it."""

    def __post_init__(self) -> None:
        expect(self.translation_px >= 0, "augmentation.translation_px", self.translation_px, "0 or more")
        expect(
            0.0 <= self.cutout_fraction < 1.0,
            "augmentation.cutout_fraction",
            self.cutout_fraction,
            "from 0 (off) to below 1",
        )
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
        """Whether any augmentation but the noise is on."""
        return any(getattr(self, name) for name in CHANGES)


class Augmentation:
    """Random changes of single samples.

    Args:
        config: Which, and how strong.
        data: What a sample looks like.
        noise: Where the random numbers come from.

    Raises:
        ConfigError: The configuration asks for what these data don't have: pixels, colours, so large a shift.
    """

    def __init__(self, config: AugmentationConfig, data: DataInfo, noise: Noise) -> None:
        check_augmentation(config, data)
        self._config = config
        self._noise = noise
        self._full_width = data.width if data.is_image else 0

    def __call__(self, samples: Tensor, probability: float, noise_std: float) -> Tensor:
        """Changed samples.

        Args:
            samples: [N, C, H, W], smaller than the data's while networks grow, or [N, D] where only noise is on.
            probability: Of each change.
            noise_std: Standard deviation of the noise added last.

        Returns:
            The same shape.
        """
        config, noise = self._config, self._noise
        if probability > 0.0 and config.on_samples:
            if config.brightness:
                samples = self._sometimes(samples, random_brightness(samples, config.brightness, noise), probability)
            if config.saturation:
                samples = self._sometimes(samples, random_saturation(samples, config.saturation, noise), probability)
            if config.contrast:
                samples = self._sometimes(samples, random_contrast(samples, config.contrast, noise), probability)
            # Pixels of the full image: while networks grow, the same share of a smaller one.
            most_px = round(config.translation_px * samples.shape[-1] / self._full_width)
            if most_px:
                samples = self._sometimes(samples, random_translation(samples, most_px, noise), probability)
            if config.cutout_fraction:
                samples = self._sometimes(samples, random_cutout(samples, config.cutout_fraction, noise), probability)
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
    """Shift each image by its own whole number of pixels in [-most_px, most_px] along both axes.

    Args:
        images: [N, C, H, W].
        most_px: The largest shift.
        noise: Where the shifts come from.

    Returns:
        [N, C, H, W]; what moves in is background.
    """
    count, _, height, width = images.shape
    shifts = noise.integers(-most_px, most_px + 1, count, 2)
    return _shift(_shift(images, shifts[:, 0], 2, height), shifts[:, 1], 3, width)


def random_cutout(images: Tensor, fraction: float, noise: Noise) -> Tensor:
    """Paint a rectangle of `fraction` of height and width in mid-gray, centred anywhere in the image [N, C, H, W]."""
    count, _, height, width = images.shape
    inside = None
    for axis, size in ((2, height), (3, width)):
        length = max(1, int(size * fraction + 0.5))
        # The centre may lie at the very edge: parts of the rectangle then fall outside. An even length has its centre
        # between two pixels, and one more place to be.
        first = noise.integers(-(length // 2), size - length // 2 + 1 - length % 2, count).view(-1, 1, 1, 1)
        view = [1, 1, 1, 1]
        view[axis] = size
        place = torch.arange(size, device=images.device).view(view)
        hit = (place >= first) & (place < first + length)
        inside = hit if inside is None else inside & hit
    assert inside is not None
    return torch.where(inside, MID_GRAY, images)


def _colours(images: Tensor) -> Tensor:
    """Return the channels that are not alpha: 1 of 1 or 2, 3 of 3 or 4."""
    return images[:, : 3 if images.shape[1] > 2 else 1]


def _colours_changed(images: Tensor, colours: Tensor) -> Tensor:
    alpha = images[:, colours.shape[1] :]
    return torch.cat([colours, alpha], dim=1) if alpha.shape[1] else colours


def _spread_changed(images: Tensor, most: float, noise: Noise, axes: tuple[int, ...]) -> Tensor:
    colours = _colours(images)
    centre = colours.mean(dim=axes, keepdim=True)
    factor = 1.0 + (noise.uniform(images.shape[0], 1, 1, 1).to(images.dtype) * 2.0 - 1.0) * most
    return _colours_changed(images, centre + (colours - centre) * factor)


def _shift(images: Tensor, shifts: Tensor, axis: int, size: int) -> Tensor:
    """Image n moved by shifts[n] along `axis`."""
    view = [1, 1, 1, 1]
    view[axis] = size
    source = torch.arange(size, device=images.device).view(view) - shifts.view(-1, 1, 1, 1)
    inside = (source >= 0) & (source < size)
    index = source.clamp(0, size - 1).expand_as(images)
    return torch.where(inside, images.gather(axis, index), BACKGROUND)


def check_augmentation(config: AugmentationConfig, data: DataInfo) -> None:
    """Refuse what these data don't have: pixels, colours, so large a shift.

    Raises:
        ConfigError: With the value and a fix.
    """
    if not config.on_samples:
        return
    if not data.is_image:
        on = next(name for name in CHANGES if getattr(config, name))
        raise refusal(
            f"augmentation.{on}",
            getattr(config, on),
            "changes images, and these data are vectors",
            "Leave it out; --augmentation.instance-noise.start works for vectors, too",
        )
    if config.saturation and data.channels < 3:
        problem = f"needs colours, and these images have {data.channels} channel(s)"
        raise refusal("augmentation.saturation", config.saturation, problem, "Leave it out")
    side = min(data.height, data.width)
    expect(
        config.translation_px < side,
        "augmentation.translation_px",
        config.translation_px,
        f"less than the images' side, {side}",
        "An eighth of the side is usual",
    )
