"""Sets of samples: images or vectors, in memory or on disk, with or without labels.

N = samples, M = samples taken, H, W, C = image, D = values of a vector.
"""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.origin import Origin
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """A set of samples that can be read by index; a subclass has the field that `rows` names."""

    rows: ClassVar[str]
    """The field with one row for each sample."""

    labels: NDArray[np.int64] | None = None
    """int64 [N], indices into label_names; None: unlabelled."""
    label_names: tuple[str, ...] = ()
    """Names of the labels."""
    origin: Origin = field(default_factory=Origin)
    """Origin of the samples; `sha256` does not include it."""

    def __post_init__(self) -> None:
        check_labels(self.labels, self.label_names, len(self))

    def __len__(self) -> int:
        return len(getattr(self, self.rows))

    @property
    def in_memory(self) -> bool:
        """Return true if reading is cheap, so that all samples may be read at once."""
        return True

    @property
    def info(self) -> DataInfo:
        """Shape and label names."""
        raise NotImplementedError

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Return the samples at `indices`, int64 [M]: uint8 [M, H, W, C] or float32 [M, D]."""
        return getattr(self, self.rows)[indices]

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the subset at `indices`, int64 [M], in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, labels=labels, **{self.rows: getattr(self, self.rows)[indices]})

    def without_labels(self) -> Self:
        """Return the same samples, unlabelled."""
        return replace(self, labels=None, label_names=())

    def sha256(self) -> str:
        """Return a digest of everything in these samples that training uses."""
        raise NotImplementedError


def check_labels(labels: NDArray[np.int64] | None, label_names: tuple[str, ...], count: int) -> None:
    """Check that labels are int64 [count], indices into their names, or that both are absent.

    Raises:
        DataError: They are something else.
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
    """Return a SHA-256 over arrays and texts, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        elif part is not None:
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
