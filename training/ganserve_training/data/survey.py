"""Look at a user's data before a form and labels are chosen: counts, sizes, channels, and what can't be read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from ganserve_training.data.bad_files import BadFiles
from ganserve_training.data.config import DataConfig
from ganserve_training.data.image_decoding import CHANNEL_NAMES, PictureFacts
from ganserve_training.data.labels import expect_utf8
from ganserve_training.data.samples import Samples
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError, MissingDataError

_FIX = re.compile(r"[:;,] (?:or learn|move|rename|name|add|its first|change|remove|repair|leave)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """Facts about a data set."""

    count: int
    """Samples that can be used."""
    values: int = 0
    """D, values of a vector; 0: the samples are pictures."""
    sides: tuple[int, ...] = ()
    """The shorter side of each picture, in pixels, sorted."""
    channels: Counter[str] = field(default_factory=Counter)
    """Pictures by the names of their channels: "rgb"."""
    labels: dict[str, int] = field(default_factory=dict)
    """Samples of each label; empty: there are no labels, or they can't be used."""
    label_problem: str = ""
    """Reason why the data's labels can't be used."""
    can_split: bool = True
    """There are enough samples of each label to learn from some and hold out others."""
    bad: BadFiles | None = None
    """Pictures that can't be read."""
    how: str = ""
    """Origin of the labels, in words."""

    @property
    def middle_side(self) -> int:
        """The median of the shorter sides, in pixels."""
        return self.sides[len(self.sides) // 2]


def survey(config: DataConfig, *, skip_bad: bool) -> Survey:
    """Read a data set once and return its facts; each picture is decoded.

    Args:
        config: The data. Its size and channels may be open.
        skip_bad: Count pictures that can't be read instead of refusing them.

    Raises:
        DataError: There are no such data, or they can't be read, even without their labels.
    """
    bad: list[BadFiles] = []
    problem = ""
    try:
        samples = _load(config, bad, skip_bad=skip_bad)
        if config.labels == "use":
            expect_utf8(samples.label_names)
    except MissingDataError:
        raise
    except DataError as error:
        if config.labels == "ignore":
            raise
        bad.clear()
        try:
            without: dict[str, Any] = {name: None for name in ("labels_path",) if hasattr(config, name)}
            without |= {"class_balanced": False} if hasattr(config, "class_balanced") else {}
            samples = _load(replace(config, labels="ignore", **without), bad, skip_bad=skip_bad).without_labels()
        except DataError:
            raise error from None
        problem = _problem_of(str(error))
    if len(samples) < 2:
        raise DataError(f"{config} holds one picture or vector, and a GAN learns from many: add some")
    return Survey(
        count=len(samples),
        labels=_label_counts(samples) if config.labels == "use" else {},
        label_problem=problem,
        bad=bad[0] if bad else None,
        how=samples.origin.in_words(),
        can_split=_can_split(config, samples),
        **_form(samples),
    )


def _load(config: DataConfig, bad: list[BadFiles], *, skip_bad: bool) -> Samples:
    """Return all samples. Where pictures may differ in size and channels, any form serves for looking at them."""
    changes: dict[str, Any] = {}
    if "on_bad_file" in {item.name for item in fields(config)}:
        changes = {"size": getattr(config, "size", None) or 16, "channels": "rgb"}
        changes |= {"on_bad_file": "skip"} if skip_bad else {}
    return replace(config, **changes).load(bad.append)


def _form(samples: Samples) -> dict[str, Any]:
    if not isinstance(samples, StoredImages):
        info = samples.info
        if not info.is_image:
            return {"values": info.sample_shape[0]}
        facts = [PictureFacts(info.width, info.height, info.channels)] * len(samples)
    else:
        found = samples.store.inspect()
        facts = [fact for index in samples.indices if not isinstance(fact := found[int(index)], str)]
    return {
        "sides": tuple(sorted(min(fact.width, fact.height) for fact in facts)),
        "channels": Counter(CHANNEL_NAMES[fact.channels] for fact in facts),
    }


def _can_split(config: DataConfig, samples: Samples) -> bool:
    try:
        config.split_indices(len(samples), samples.labels)
    except DataError:
        return False
    return True


def _label_counts(samples: Samples) -> dict[str, int]:
    if samples.labels is None:
        return {}
    counts = np.bincount(samples.labels, minlength=len(samples.label_names))
    return dict(zip(samples.label_names, counts.tolist(), strict=True))


def _problem_of(message: str) -> str:
    """Return the problem of a message, without what to do about it."""
    return _FIX.split(message.partition("\n")[0])[0]
