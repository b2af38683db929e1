"""Where data come from, by name, and the split that training and judging share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ganserve_training.config import DataConfig
from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.memory_images import Images
from ganserve_training.data.samples import Samples
from ganserve_training.data.sources.array import load_array
from ganserve_training.data.sources.cifar10 import load_cifar10
from ganserve_training.data.sources.digits import load_digits
from ganserve_training.data.sources.folder import load_folder
from ganserve_training.data.sources.gaussians import load_gaussians
from ganserve_training.data.sources.idx import load_idx
from ganserve_training.data.sources.parquet import load_parquet
from ganserve_training.data.sources.patches import load_patches
from ganserve_training.data.sources.stacked_digits import load_stacked_digits
from ganserve_training.data.split import split_indices
from ganserve_training.data.storage.images import StoredImages
from ganserve_training.errors import DataError

SplitName = Literal["train", "held_out"]

_SOURCES: dict[str, Callable[[DataConfig, ReportBadFiles | None], Samples]] = {
    "array": load_array,
    "cifar10": load_cifar10,
    "digits": lambda _config, _report: load_digits(),
    "folder": load_folder,
    "grid": lambda config, _report: load_gaussians(config),
    "idx": load_idx,
    "parquet": load_parquet,
    "ring": lambda config, _report: load_gaussians(config),
}
# What is drawn from something that has to be split before.
_SPLIT_SOURCES: dict[str, Callable[[DataConfig, SplitName], Samples]] = {
    "patches": load_patches,
    "stacked-digits": lambda config, split: load_stacked_digits(config, split, _split_digits(config, split)),
}


def load_split(config: DataConfig, split: SplitName, *, report: ReportBadFiles | None = None) -> Samples:
    """One side of the data's split into training and held-out samples.

    The split is ``sklearn.model_selection.train_test_split(test_size=held_out_fraction, random_state=split_seed,
    stratify=labels)``, whether labels are then used or not; see `split_indices`
    for labels with a single sample. Patches are split by area, stacked digits by digit.

    Args:
        config: Which data, and how to split them.
        split: `"train"`, the only samples that a generator may learn from, or `"held_out"`.
        report: Told about images that can't be read and are skipped.

    Raises:
        DataError: Data are missing, unreadable, or not what the configuration says.
    """
    if config.source in _SPLIT_SOURCES:
        samples = _SPLIT_SOURCES[config.source](config, split)
    else:
        whole = _SOURCES[config.source](config, report)
        samples = _one_side(whole, config, split)
    if config.labels == "ignore":
        samples = samples.without_labels()
    elif config.class_balanced and samples.labels is None:
        raise DataError(f"data.class_balanced needs labels, and the data at {config.path} have none")
    return samples.loaded_if_small() if isinstance(samples, StoredImages) else samples


def _one_side(whole: Samples, config: DataConfig, split: SplitName) -> Samples:
    try:
        train, held_out = split_indices(len(whole), whole.labels, config)
    except DataError:
        if config.labels == "use" or whole.labels is None:
            raise
        train, held_out = split_indices(len(whole), None, config)
    return whole.take(train if split == "train" else held_out)


def _split_digits(config: DataConfig, split: SplitName) -> Images:
    digits = load_digits()
    train, held_out = split_indices(len(digits), digits.labels, config)
    return digits.take(train if split == "train" else held_out)
