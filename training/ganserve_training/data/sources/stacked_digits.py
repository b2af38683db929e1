"""Three digits as the channels of one image: a thousand modes that need no download. N = images."""

from dataclasses import dataclass

import numpy as np

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import DrawnDataConfig, ImageDataConfig, SplitName, register_source
from ganserve_training.data.samples_in_memory import Images
from ganserve_training.data.sources.digits import load_digits


@register_source
@dataclass(frozen=True, kw_only=True)
class StackedDigitsConfig(ImageDataConfig, DrawnDataConfig):
    """Three digits as the channels of one image, unlabelled."""

    source = "stacked-digits"
    default_count = 50_000
    drawing_bytes = 2 * 3 * 8 * 8

    def load_side(self, split: SplitName, report: ReportBadFiles | None) -> Images:  # noqa: ARG002
        """Return images of three random digits of one side of the split each, uint8 [N, 8, 8, 3], unlabelled."""
        digits = load_digits()
        train, held_out = self.split_indices(len(digits), digits.labels)
        digits = digits.take(train if split == "train" else held_out)
        stream = 2 if split == "held_out" else 1
        random = np.random.Generator(np.random.Philox(key=np.array([self.split_seed, stream], np.uint64)))
        # [N, 3, 8, 8]
        stacks = digits.pixels[..., 0][random.integers(0, len(digits), (self.side_count(split), 3))]
        return Images(pixels=np.ascontiguousarray(stacks.transpose(0, 2, 3, 1)))
