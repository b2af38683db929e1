"""Differentiable augmentation: what the critic sees of every sample. N = batch, C, H, W = image.

Every change is made to each sample on its own, with a probability, and gradients flow through it (DiffAugment, Zhao et
al. 2020). The same changes meet real and generated samples, in the critic's updates and in the generator's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganserve_training.config import AugmentationConfig
from ganserve_training.config.augmentation import CHANGES
from ganserve_training.data import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.run.random_state import Noise

BACKGROUND = -1.0  # Black, in the networks' range: what is shifted in.
MID_GRAY = 0.0  # What cut-out squares show.


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
    """The channels that are not alpha: 1 of 1 or 2, 3 of 3 or 4."""
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
        on = [f"augmentation.{name}" for name in CHANGES if getattr(config, name)]
        raise ConfigError(
            f"{' and '.join(on)} must be 0, as these data are vectors, and only images can be changed so "
            "(augmentation.instance_noise works for vectors too)"
        )
    if config.saturation and data.channels < 3:
        raise ConfigError(
            f"augmentation.saturation needs colours, and these images have {data.channels} channel(s): set it to 0"
        )
    if config.translation_px >= min(data.height, data.width):
        raise ConfigError(
            f"augmentation.translation_px must be less than the images' side, {min(data.height, data.width)} "
            f"(got {config.translation_px}): an eighth of the side is usual"
        )
