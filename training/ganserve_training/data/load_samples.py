"""Load one side of the split into training and held-out samples, which training and judging share.

Each source's file registers itself when it is imported here.
"""

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import DataConfig, SplitName
from ganserve_training.data.samples import Samples
from ganserve_training.data.sources import (  # noqa: F401 - each registers itself
    array,
    cifar10,
    digits,
    folder,
    gaussians,
    idx,
    parquet,
    patches,
    stacked_digits,
)
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError


def load_split(config: DataConfig, split: SplitName, *, report: ReportBadFiles | None = None) -> Samples:
    """Return one side of the split.

    The split is ``sklearn.model_selection.train_test_split(test_size=held_out_fraction, random_state=split_seed,
    stratify=labels)``, whether labels are then used or not; see `split_indices`
    for labels with a single sample. Patches are split by area, stacked digits by digit.

    Args:
        config: Which data, and how to split them.
        split: `"train"`, the only samples that a generator may learn from, or `"held_out"`.
        report: Called with the images that can't be read and are skipped.

    Raises:
        DataError: Data are missing, unreadable, or not what the configuration says.
    """
    config.check_complete()
    samples = config.load_side(split, report)
    if config.labels == "ignore":
        samples = samples.without_labels()
    elif config.class_balanced and samples.labels is None:
        raise DataError("--data.class-balanced: needs labels, and these data have none.")
    return samples.loaded_if_small() if isinstance(samples, StoredImages) else samples
