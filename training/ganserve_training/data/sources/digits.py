"""Scikit-learn's bundled handwritten digits: real data that need no download."""

from dataclasses import dataclass

import numpy as np

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import LabelledImageDataConfig, register_source
from ganserve_training.data.samples_in_memory import Images


@register_source
@dataclass(frozen=True, kw_only=True)
class DigitsConfig(LabelledImageDataConfig):
    """scikit-learn's 1,797 handwritten digits, 8 x 8 gray."""

    source = "digits"

    def load(self, report: ReportBadFiles | None) -> Images:  # noqa: ARG002
        """Return all digits."""
        return load_digits()


def load_digits() -> Images:
    """Return 1,797 digits, uint8 [N, 8, 8, 1], labels "0" to "9".

    They are 8 x 8 counts of 0 to 16 dark pixels each (Alpaydin & Kaynak 1998); v becomes round(255 v / 16).
    """
    from sklearn.datasets import load_digits as load

    bunch = load()
    pixels = np.round(bunch.images * (255.0 / 16.0)).astype(np.uint8)[..., np.newaxis]
    names = tuple(str(name) for name in bunch.target_names)
    return Images(pixels=pixels, labels=bunch.target.astype(np.int64), label_names=names)
