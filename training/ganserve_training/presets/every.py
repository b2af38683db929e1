"""All presets by name."""

from ganserve_training.config import TrainConfig
from ganserve_training.presets.digits import DIGITS, DIGITS_ACGAN, DIGITS_INFOGAN
from ganserve_training.presets.images import (
    ACGAN,
    DCGAN,
    FASHION,
    INFOGAN,
    MNIST,
    PROGRESSIVE,
    R3GAN,
    SNGAN,
    WGAN,
    WGAN_GP,
)
from ganserve_training.presets.modes import GRID, RING, STACKED_DIGITS, STACKED_MNIST
from ganserve_training.presets.patches import (
    DCGAN_32,
    PROGRESSIVE_32,
    R3GAN_32,
    SNGAN_32,
    WGAN_32,
    WGAN_GP_32,
)
from ganserve_training.presets.styles import STYLEGAN2_32, STYLEGAN2_256

PRESETS: dict[str, TrainConfig] = {
    "mnist": MNIST,
    "fashion": FASHION,
    "dcgan": DCGAN,
    "wgan": WGAN,
    "wgan-gp": WGAN_GP,
    "sngan": SNGAN,
    "progressive": PROGRESSIVE,
    "r3gan": R3GAN,
    "stylegan2-32": STYLEGAN2_32,
    "stylegan2-256": STYLEGAN2_256,
    "acgan": ACGAN,
    "infogan": INFOGAN,
    "digits": DIGITS,
    "digits-acgan": DIGITS_ACGAN,
    "digits-infogan": DIGITS_INFOGAN,
    "ring": RING,
    "grid": GRID,
    "stacked-digits": STACKED_DIGITS,
    "stacked-mnist": STACKED_MNIST,
    "dcgan-32": DCGAN_32,
    "wgan-32": WGAN_32,
    "wgan-gp-32": WGAN_GP_32,
    "sngan-32": SNGAN_32,
    "progressive-32": PROGRESSIVE_32,
    "r3gan-32": R3GAN_32,
}
