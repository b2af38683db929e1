"""Sets of samples: images or vectors, in memory or on disk, with or without labels.

N = samples, M = samples taken, H, W, C = image, D = values of a vector.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import DataError


class Samples(Protocol):
    """A set of samples that can be read by index."""

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """Int64 [N], indices into `info.label_names`; None: unlabelled."""
        ...

    @property
    def info(self) -> DataInfo:
        """Shape and label names."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether reading costs next to nothing, so that all of them may be read at once."""
        ...

    def __len__(self) -> int: ...

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The samples at `indices`, int64 [M]: uint8 [M, H, W, C] or float32 [M, D]."""
        ...

    def take(self, indices: NDArray[np.int64]) -> Samples:
        """The subset at `indices`, int64 [M], in that order."""
        ...

    def without_labels(self) -> Samples:
        """The same samples, unlabelled."""
        ...

    def sha256(self) -> str:
        """A digest of what training would see; another digest: other data."""
        ...


def check_labels(labels: NDArray[np.int64] | None, label_names: tuple[str, ...], count: int) -> None:
    """Labels are int64 [count], indices into their names, or both are absent.

    Raises:
        DataError: They are not.
    """
    if (labels is None) != (not label_names):
        raise DataError("labels and label_names must be given together, or neither")
    if labels is None:
        return
    if labels.dtype != np.int64 or labels.shape != (count,):
        raise DataError(f"labels must be int64 [{count}] (got {labels.dtype} {list(labels.shape)})")
    if count and not 0 <= labels.min() <= labels.max() < len(label_names):
        raise DataError(f"labels must be indices below {len(label_names)} (got {labels.min()} to {labels.max()})")


def digest_arrays(*parts: NDArray[Any] | str | None) -> str:
    """SHA-256 over arrays and texts, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        elif part is not None:
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
