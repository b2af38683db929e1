"""Configurations that are known to work, by name. A preset is a value; variations are `dataclasses.replace`."""

from __future__ import annotations

from ganserve_training.config import TrainConfig
from ganserve_training.presets.digits import DIGITS, DIGITS_ACGAN, DIGITS_INFOGAN
from ganserve_training.presets.images import (
    DCGAN_32,
    PROGRESSIVE_32,
    R3GAN_32,
    SNGAN_32,
    WGAN_32,
    WGAN_GP_32,
)
from ganserve_training.presets.modes import GRID, RING, STACKED_DIGITS

PRESETS: dict[str, TrainConfig] = {
    "digits": DIGITS,
    "digits-acgan": DIGITS_ACGAN,
    "digits-infogan": DIGITS_INFOGAN,
    "ring": RING,
    "grid": GRID,
    "stacked-digits": STACKED_DIGITS,
    "dcgan-32": DCGAN_32,
    "wgan-32": WGAN_32,
    "wgan-gp-32": WGAN_GP_32,
    "sngan-32": SNGAN_32,
    "progressive-32": PROGRESSIVE_32,
    "r3gan-32": R3GAN_32,
}

ABOUT: dict[str, str] = {
    "digits": "scikit-learn's digits, 8 x 8, by label: a minute; start here",
    "digits-acgan": "the same, labels by an auxiliary classifier (AC-GAN)",
    "digits-infogan": "the same without labels: codes that training gives a meaning (InfoGAN)",
    "ring": "8 Gaussians in the plane, an MLP",
    "grid": "25 Gaussians in the plane, an MLP",
    "stacked-digits": "three digits as colours, 1,000 modes, an MLP",
    "dcgan-32": "photo patches, 32 x 32 RGB: DCGAN",
    "wgan-32": "the same patches: Wasserstein, clipped weights",
    "wgan-gp-32": "the same patches: Wasserstein, gradient penalty",
    "sngan-32": "the same patches: residual, spectral norm, hinge, projection",
    "progressive-32": "the same patches: grown from 4 x 4",
    "r3gan-32": "the same patches: R3GAN, relativistic pairs, R1 and R2",
}
"""Each preset in a few words."""
