"""Load the training samples or the held-out samples of any source.

Importing a source's file here registers the source.
"""

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import DataConfig, DrawnDataConfig, SplitName
from ganserve_training.data.labels import expect_utf8
from ganserve_training.data.samples import Samples
from ganserve_training.data.sources import (  # noqa: F401 - each registers itself
    array,
    cifar10,
    csv,
    digits,
    fashion,
    folder,
    gaussians,
    idx,
    mnist,
    parquet,
    patches,
    stacked_digits,
    stacked_mnist,
)
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError


def load_split(config: DataConfig, split: SplitName, *, report: ReportBadFiles | None = None) -> Samples:
    """Return one side of the split: "train", which generators learn from, or "held_out".

    `split_indices` describes the split, which ignores `data.labels`. Patches are split by area, stacks by
    digit.

    Args:
        config: Source and split.
        split: The wanted side.
        report: Called with the unreadable images that are skipped.

    Raises:
        DataError: Data are missing, unreadable, or differ from the configuration.
    """
    config.check_complete()
    if isinstance(config, DrawnDataConfig):
        config.check_memory()
    samples = config.load_side(split, report)
    if config.labels == "ignore":
        samples = samples.without_labels()
    elif config.class_balanced and samples.labels is None:
        raise DataError("--data.class-balanced: needs labels, and these data have none.")
    expect_utf8(samples.label_names)
    return samples.loaded_if_small() if isinstance(samples, StoredImages) else samples
