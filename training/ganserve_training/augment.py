"""Differentiable augmentation: what the critic sees of every sample. N = batch, C, H, W = image."""

import torch
from torch import Tensor

from ganserve_training.config import AugmentationConfig

BACKGROUND = -1.0  # Black, in the networks' range.


class Augmentation:
    """Random changes of single samples, through which gradients flow (Zhao et al. 2020).

    Args:
        config: which, and how strong.
        generator: where the random numbers come from.
    """

    def __init__(self, config: AugmentationConfig, generator: torch.Generator) -> None:
        self._config = config
        self._generator = generator

    def __call__(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        if self._config.translation_px:
            images = random_translation(images, self._config.translation_px, self._generator)
        return images


def random_translation(images: Tensor, most_px: int, generator: torch.Generator) -> Tensor:
    """Shift each image by its own whole number of pixels in [-most_px, most_px] along both axes.

    Args:
        images: [N, C, H, W].
        most_px: the largest shift.
        generator: where the shifts come from.

    Returns:
        [N, C, H, W]; what moves in is background.
    """
    count, _, height, width = images.shape
    shifts = torch.randint(-most_px, most_px + 1, (2, count), generator=generator, device=images.device)
    return _shift(_shift(images, shifts[0], 2, height), shifts[1], 3, width)


def _shift(images: Tensor, shifts: Tensor, axis: int, size: int) -> Tensor:
    """Image n moved by shifts[n] along ``axis``."""
    view = [1, 1, 1, 1]
    view[axis] = size
    source = torch.arange(size, device=images.device).view(view) - shifts.view(-1, 1, 1, 1)
    inside = (source >= 0) & (source < size)
    index = source.clamp(0, size - 1).expand_as(images)
    return torch.where(inside, images.gather(axis, index), BACKGROUND)
