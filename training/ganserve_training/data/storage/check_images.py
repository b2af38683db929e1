"""Find the bad images of a set, and choose the size and channels of the good ones. N = images."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import BadFile, ReportBadFiles, settle_bad_files
from ganserve_training.data.config import StoredDataConfig
from ganserve_training.data.image_decoding import CHANNEL_COUNTS, CHANNEL_NAMES, ImageForm, PictureFacts
from ganserve_training.data.storage.stored_images import PictureStore, StoredImages
from ganserve_training.errors import DataError


def build_stored_images(
    store: PictureStore,
    labels: NDArray[np.int64] | None,
    label_names: tuple[str, ...],
    config: StoredDataConfig,
    report: ReportBadFiles | None,
) -> StoredImages:
    """Return the good pictures of a store, in the form that the configuration asks for.

    `labels`, int64 [N], has one for each picture of the store, good or bad. `report` is called with the bad ones.

    Raises:
        DataError: There are bad files and none may be skipped; no image of some label is good; or the
            pictures differ in size or channels and the configuration gives none.
    """
    good: list[int] = []
    facts: list[PictureFacts] = []
    bad: list[BadFile] = []
    for index, found in enumerate(store.inspect()):
        if isinstance(found, str):
            bad.append(BadFile(store.name(index), found))
        elif config.crop == "none" and found.width != found.height:
            why = f"it is {found.width} x {found.height} pixels, not square; --data.crop center takes the middle"
            bad.append(BadFile(store.name(index), why))
        else:
            good.append(index)
            facts.append(found)
    settle_bad_files(bad, len(store), on_bad_file=config.on_bad_file, report=report)
    indices = np.array(good, np.int64)
    form = ImageForm(_side(facts, config), _channels(facts, config))
    kept = None if labels is None else labels[indices]
    if kept is not None and len(np.unique(kept)) < len(label_names):
        gone = sorted(set(range(len(label_names))) - set(kept.tolist()))
        raise DataError(f"no readable image is left of the label {label_names[gone[0]]!r}: repair or remove its files")
    return StoredImages(store=store, indices=indices, form=form, labels=kept, label_names=label_names)


def _side(facts: Sequence[PictureFacts], config: StoredDataConfig) -> int:
    if config.size is not None:
        return config.size
    sides = Counter(min(item.width, item.height) for item in facts)
    if len(sides) > 1:
        found = ", ".join(f"{side} px ({count:,} images)" for side, count in sides.most_common(4))
        rest = f" and {len(sides) - 4} more sizes" if len(sides) > 4 else ""
        raise DataError(f"the images differ in size: {found}{rest}. Say which they should get: --data.size 64")
    return next(iter(sides))


def _channels(facts: Sequence[PictureFacts], config: StoredDataConfig) -> int:
    if config.channels != "auto":
        return CHANNEL_COUNTS[config.channels]
    channels = Counter(item.channels for item in facts)
    if len(channels) > 1:
        found = ", ".join(f"{CHANNEL_NAMES[channel]} ({count:,} images)" for channel, count in channels.most_common())
        raise DataError(f"the images differ in channels: {found}. Say what they should become: --data.channels rgb")
    return next(iter(channels))
