"""Find the bad images of a set, and choose the size and channels of the good ones. N = images."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import BadFile, ReportBadFiles, settle_bad_files
from ganserve_training.data.config import StoredDataConfig
from ganserve_training.data.image_decoding import CHANNEL_COUNTS, CHANNEL_NAMES, ImageForm, PictureFacts
from ganserve_training.data.labels import used_labels
from ganserve_training.data.origin import Origin
from ganserve_training.data.storage.stored_images import PictureStore, StoredImages
from ganserve_training.errors import DataError


def build_stored_images(
    store: PictureStore,
    labels: NDArray[np.int64] | None,
    label_names: tuple[str, ...],
    config: StoredDataConfig,
    report: ReportBadFiles | None,
    origin: Origin | None = None,
) -> StoredImages:
    """Return the good pictures of a store, in the form that the configuration asks for.

    `labels`, int64 [N], has one for each picture of the store, good or bad. Names that no picture has are left out.
    `report` is called with the bad pictures.

    Raises:
        DataError: There are bad files and none may be skipped; no image of some label is good; or the
            pictures differ in size or channels and the configuration gives none.
    """
    labels, label_names, unused = used_labels(labels, label_names)
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
    side, channels = config.size, CHANNEL_COUNTS.get(config.channels)
    if side is None:
        sides = (min(item.width, item.height) for item in facts)
        side = _common(sides, "size", "{} px".format, "Say which they should get: --data.size 64")
    if channels is None:
        fix = "Say what they should become: --data.channels rgb"
        channels = _common((item.channels for item in facts), "channels", CHANNEL_NAMES.__getitem__, fix)
    form = ImageForm(side, channels)
    kept = None if labels is None else labels[indices]
    if kept is not None and len(np.unique(kept)) < len(label_names):
        gone = sorted(set(range(len(label_names))) - set(kept.tolist()))
        if config.labels == "use":
            name = label_names[gone[0]]
            raise DataError(f"no readable image is left of the label {name!r}: repair or remove its files")
        kept, label_names, _ = used_labels(kept, label_names)
    origin = origin or Origin()
    return StoredImages(
        store=store,
        indices=indices,
        form=form,
        labels=kept,
        label_names=label_names,
        origin=replace(origin, passed_over=(*origin.passed_over, *unused)),
    )


def _common(values: Iterable[int], what: str, called: Callable[[int], str], fix: str) -> int:
    """Return the value that all images share, or raise a DataError that counts the values."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    found = ", ".join(f"{called(value)} ({count:,} images)" for value, count in counts.most_common(4))
    rest = f" and {len(counts) - 4} more {what}s" if len(counts) > 4 else ""
    raise DataError(f"the images differ in {what}: {found}{rest}. {fix}")
