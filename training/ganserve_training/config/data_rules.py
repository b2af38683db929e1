"""Compute values of a configuration from facts about the data; docs/data-rules.md has a table of all rules.

Each function is one rule. `config/fitting.py` says where each applies; the cures of failing runs use some of them, too.
"""

import math

from ganserve_training.data.sample_info import DataInfo

FEW_SAMPLES = 1000
"""Number of samples below which the critic memorises them."""
MANY_EXTREMES = 0.2
"""Share of exact black and white from which a generator's images need bounds; photographs have less."""
_GAMMA_PER_VALUE = 0.003
_LEAST_GAMMA = 0.3
_USUAL_BATCH = 64
_GROWN_SHARE = 1.15  # steps of a run, as a multiple of those in which its networks grow
_MOST_LATENTS = 64
_WIDTH_PER_PIXEL = 2


def penalty_gamma(data: DataInfo, batch_size: int) -> float:
    """Return the weight of R1 and R2 to start with: 0.003 x values x 64 / batch size, at least 0.3, to one digit.

    Values are pixels x channels. The form is StyleGAN2's heuristic (Karras et al. 2020, 0.0002 side² / batch size); the
    factor is measured on relativistic pairing with plain convolutions and DCGAN's networks. Vectors get 1.
    """
    if not data.is_image:
        return 1.0
    values = math.prod(data.sample_shape)
    return _one_digit(max(_LEAST_GAMMA, _GAMMA_PER_VALUE * values * _USUAL_BATCH / batch_size))


def scaled_gamma(gamma: float, side: int, batch_size: int, data: DataInfo, new_batch_size: int) -> float:
    """Return the weight of R1 and R2 for R3GAN's or StyleGAN2's networks, from a preset's for images of `side`² pixels.

    It grows with the pixels, and falls with the batch size (Karras et al. 2020).

    Presets differ in it by the kind of pictures, so only the change with size and batch is a rule.
    """
    return _one_digit(gamma * data.height * data.width / side**2 * batch_size / new_batch_size)


def scaled_shift(shift_px: int, side: int, data: DataInfo) -> int:
    """Return the largest random shift for other images, from a preset's for images of `side` pixels: the same share."""
    return max(1, round(shift_px * max(data.height, data.width) / side))


def learning_rate(data: DataInfo) -> float:
    """Return Adam's step size to start with: 3e-3 for images of up to 8 x 8 pixels, else 1e-3."""
    return 3e-3 if data.is_image and max(data.height, data.width) <= 8 else 1e-3


def steps_for_batch(steps: int, batch_size: int, new_batch_size: int) -> int:
    """Return the length of a run with another batch size: smaller batches take more steps, to show as many samples.

    Larger batches take as many steps as before, because each step is only one update.
    """
    return max(steps, math.ceil(steps * batch_size / new_batch_size))


def steps_for_growth(steps_until_grown: int) -> int:
    """Return the least length of a run whose networks grow: 1.15 times the steps that growing takes."""
    return math.ceil(_GROWN_SHARE * steps_until_grown)


def burn_in_steps(burn_in: int, steps: int, new_steps: int) -> int:
    """Return the burn-in of a run of another length: the same share of it."""
    return max(1, round(burn_in * new_steps / steps))


def ema_half_life_kimg(half_life_kimg: float, samples: int, new_samples: int) -> float:
    """Return the half-life of the averaged weights, if a run shows another number of samples: the same share."""
    return float(f"{half_life_kimg * new_samples / samples:.2g}")


def largest_width(max_width: int, data: DataInfo) -> int:
    """Return the largest number of channels: at least twice the side in pixels, as in StyleGAN's networks.

    So each doubling of the side doubles the widths of the small levels, too.
    """
    return max(max_width, _WIDTH_PER_PIXEL * max(data.height, data.width))


def level_batch_sizes(sizes: tuple[int, ...], levels: int) -> tuple[int, ...]:
    """Return the batch size of each level from 4 x 4 up: further levels have that of the last one."""
    return (*sizes, *sizes[-1:] * levels)[:levels]


def stddev_group(group: int, scored: int) -> int:
    """Return the largest group for the minibatch standard deviation that divides `scored` samples; 0: there is none."""
    return next((size for size in range(min(group, scored), 1, -1) if scored % size == 0), 0)


def latent_dim(latent_dim: int, values: int) -> int:
    """Return the length of the latents for vectors, or images as vectors: at least their values, up to 64.

    With fewer, the samples lie on a surface of fewer dimensions than the data may have.
    """
    return max(latent_dim, min(values, _MOST_LATENTS))


def shift_px(data: DataInfo, samples: int) -> int:
    """Return the largest random shift of images before the critic: an eighth of the side for few samples, else 0."""
    return max(1, max(data.height, data.width) // 8) if data.is_image and samples < FEW_SAMPLES else 0


def _one_digit(value: float) -> float:
    """Round to one significant digit: the data say no more about a penalty."""
    return float(f"{value:.1g}")
