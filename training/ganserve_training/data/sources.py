"""Where data come from, by name, and the split that training and judging share."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from ganserve_training.config import DataConfig
from ganserve_training.data.digits import load_digits
from ganserve_training.data.samples import Samples

SplitName = Literal["train", "held_out"]

_SOURCES: dict[str, Callable[[], Samples]] = {"digits": load_digits}


def load_split(config: DataConfig, split: SplitName) -> Samples:
    """One side of the data's split into training and held-out samples.

    The split is ``sklearn.model_selection.train_test_split(test_size=held_out_fraction, random_state=split_seed,
    stratify=labels)``.

    Args:
        config: which data, and how to split them.
        split: ``"train"``, the only samples that a generator may learn from, or ``"held_out"``.
    """
    from sklearn.model_selection import train_test_split

    samples = _SOURCES[config.source]()
    train, held_out = train_test_split(
        np.arange(len(samples)),
        test_size=config.held_out_fraction,
        random_state=config.split_seed % 2**32,
        stratify=samples.labels,
    )
    return samples.take(train if split == "train" else held_out)
