"""One line about each preset, for lists that must not import PyTorch."""

LISTED: dict[str, str] = {
    "mnist": "handwritten digits, 32 x 32, by label: start here",
    "fashion": "clothes, 32 x 32, by name",
    "dcgan": "handwritten digits without labels: DCGAN",
    "wgan": "the same: Wasserstein, clipped weights",
    "progressive": "the same: grown from 4 x 4",
    "infogan": "the same: codes that gain a meaning (InfoGAN)",
    "wgan-gp": "handwritten digits by label: Wasserstein, gradient penalty",
    "acgan": "the same: an auxiliary classifier (AC-GAN)",
    "sngan": "the same: spectral norm, hinge, projection (SNGAN)",
    "r3gan": "the same: R3GAN, relativistic pairs, R1 and R2",
    "stylegan2-32": "the same: StyleGAN2, styles and noise",
    "stylegan2-256": "your pictures, 256 x 256: StyleGAN2 on a GPU",
    "digits": "scikit-learn's digits, 8 x 8, by label: a minute",
    "digits-acgan": "the same, labels by an auxiliary classifier (AC-GAN)",
    "digits-infogan": "the same without labels: codes that gain a meaning (InfoGAN)",
    "ring": "8 Gaussians in the plane, an MLP",
    "grid": "25 Gaussians in the plane, an MLP",
    "stacked-digits": "three digits as colours, 1,000 modes, an MLP",
    "stacked-mnist": "the same of MNIST, 28 x 28: R3GAN's loss, DCGAN",
}
"""Presets to start from."""

EARLIER: dict[str, str] = {
    f"{name}-32": "an earlier recipe, on patches of photographs"
    for name in ("dcgan", "wgan", "wgan-gp", "sngan", "progressive", "r3gan")
}
"""Presets that are kept so that runs of them can go on."""

ABOUT = LISTED | EARLIER
"""All presets."""
