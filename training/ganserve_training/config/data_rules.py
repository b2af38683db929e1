"""Compute penalties and learning rates from the data, for the cures of failing runs; see docs/diagnosis.md."""

from ganserve_training.data.sample_info import DataInfo

_GAMMA_PER_PIXEL = 0.003
_LEAST_GAMMA = 0.3
_LARGE_BATCH = 64


def penalty_gamma(data: DataInfo, batch_size: int) -> float:
    """Return the weight of R1 and R2: it grows with the number of pixels, and falls with the batch size.

    The form is StyleGAN2's heuristic (Karras et al. 2020, 0.0002 side² / batch size); the factor is measured on
    relativistic pairing with both penalties. Vectors get 1.
    """
    if not data.is_image:
        return 1.0
    pixels = data.height * data.width
    return float(f"{max(_LEAST_GAMMA, _GAMMA_PER_PIXEL * pixels * _LARGE_BATCH / batch_size):.2g}")


def learning_rate(data: DataInfo) -> float:
    """Return Adam's step size for images of a size: 3e-3 up to 8 x 8 pixels, 1e-3 above; vectors get 1e-3."""
    return 3e-3 if data.is_image and max(data.height, data.width) <= 8 else 1e-3
