"""Three digits as the channels of one image: a thousand modes that need no download. N = images."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ganserve_training.config import DataConfig
from ganserve_training.data.memory_images import Images

DEFAULT_COUNT = 50_000


def load_stacked_digits(config: DataConfig, split: Literal["train", "held_out"], digits: Images) -> Images:
    """Images of three random digits each, uint8 [N, 8, 8, 3], unlabelled.

    Args:
        config: `count` images in all, of which `held_out_fraction` are held out; `split_seed` draws them.
        split: Which of them.
        digits: The digits of that split, so that no held-out digit is in a training image.
    """
    total = config.count or DEFAULT_COUNT
    held_out = min(max(1, round(total * config.held_out_fraction)), total - 1)
    count, stream = (held_out, 2) if split == "held_out" else (total - held_out, 1)
    random = np.random.Generator(np.random.Philox(key=np.array([config.split_seed, stream], np.uint64)))
    # [N, 3, 8, 8]
    stacks = digits.pixels[..., 0][random.integers(0, len(digits), (count, 3))]
    return Images(pixels=np.ascontiguousarray(stacks.transpose(0, 2, 3, 1)))
