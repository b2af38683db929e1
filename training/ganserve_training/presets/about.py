"""One line about each preset, for lists that must not import PyTorch."""

ABOUT: dict[str, str] = {
    "digits": "scikit-learn's digits, 8 x 8, by label: a minute; start here",
    "digits-acgan": "the same, labels by an auxiliary classifier (AC-GAN)",
    "digits-infogan": "the same without labels: codes that gain a meaning (InfoGAN)",
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
