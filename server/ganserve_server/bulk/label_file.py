"""Read the label of each sample from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_server.bulk.sample_job import label_numbers
from ganserve_server.errors import JobError
from ganserve_server.models.manifest_checks import ModelInfo


def read_labels(path: Path, count: int, info: ModelInfo) -> NDArray[np.int64]:
    """Return the labels of `count` samples, int64 [N]: indices of a .npy file, or names or indices, one a line.

    Raises BulkError if the file cannot be read, has another number of labels, or one that the model lacks.
    """
    flag = f"--labels {path}"
    try:
        if path.suffix.lower() == ".npy":
            labels = _indices(np.load(path, allow_pickle=False), info, flag)
        else:
            lines = path.read_text("utf-8-sig").splitlines()
            labels = label_numbers(info, [line.strip() for line in lines], flag) if lines else np.empty(0, np.int64)
    except OSError as error:
        raise JobError(f"{flag}: {error.strerror or error}. Give a file that can be read.") from error
    except ValueError as error:  # of NumPy, and UnicodeDecodeError
        fix = "Give a .npy of whole numbers, or text in UTF-8 with a label a line."
        raise JobError(f"{flag}: {error}. {fix}") from error
    if len(labels) != count:
        raise JobError(f"{flag}: has {len(labels):,} labels, and --count is {count:,}. Make them the same.")
    return labels


def _indices(array: NDArray[Any], info: ModelInfo, flag: str) -> NDArray[np.int64]:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise JobError(f"{flag}: has {array.dtype} {list(array.shape)}. Give whole numbers [N].")
    if not info.label_names:
        raise JobError(f"{flag}: model {info.name!r} is unconditional and takes no labels. Leave it out.")
    wrong = np.flatnonzero((array < 0) | (array >= len(info.label_names)))
    if len(wrong):
        known = len(info.label_names) - 1
        raise JobError(f"{flag}: entry {wrong[0]} is {array[wrong[0]]}. Labels of {info.name!r} are 0 to {known}.")
    return array.astype(np.int64)
