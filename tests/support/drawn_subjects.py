"""Models to evaluate that draw what a test gives them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training import load_split
from ganserve_training.config import DataConfig
from ganserve_training.data.config import SplitName
from ganserve_training.evaluation.evaluate import Subject

Draw = Callable[[NDArray[np.int64] | None, int, int], NDArray[Any]]


def subject(config: DataConfig, draw: Draw, *, labelled: bool = True) -> Subject:
    """A model of these data; with `labelled`, it takes their labels, if there are any."""
    info = load_split(config, "train").info
    return Subject(
        sample_shape=info.sample_shape,
        label_names=info.label_names if labelled else (),
        learned_from=config,
        step=7,
        checkpoint_sha256="c0ffee",
        draw=draw,
    )


def real_samples(config: DataConfig, split: SplitName = "train") -> Draw:
    """Draw samples of one side of the split, of the labels that are asked for."""
    found = load_split(config, split)

    def draw(labels: NDArray[np.int64] | None, count: int, seed: int) -> NDArray[Any]:
        rng = np.random.default_rng(seed)
        if labels is None or found.labels is None:
            return found.read(rng.integers(len(found), size=count))
        of_label = [np.flatnonzero(found.labels == label) for label in range(len(found.label_names))]
        every = np.arange(len(found))
        return found.read(np.array([rng.choice(of_label[one] if len(of_label[one]) else every) for one in labels]))

    return draw
