"""The batches that a foreign graph can compute: any, from two samples on, or of one size only. N = batch.

An exporter that was given one example often makes a graph for a batch of 1: it declares the size, or only builds it in.
Such a graph computes its samples in turn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ganserve_export.errors import ExportError

Arrays = Mapping[str, npt.NDArray[Any]]
_ALIKE = 2e-3  # of the largest value; float16 rounds by less
_SIZES = (*range(1, 17), 20, 24, 25, 32, 36, 48, 49, 50, 64, 100, 128)
"""Sizes tried on a graph that computes no other batch, though it declares an open one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batching:
    """The batches that a graph can compute."""

    size: int | None = None
    """The only size; None: any from `least` on."""
    least: int = 1

    @property
    def is_free(self) -> bool:
        """Say whether a batch may have any size."""
        return self.size is None and self.least == 1

    def __str__(self) -> str:
        """Say what is unusual; empty for a graph that computes any batch."""
        if self.size is not None:
            return f"a batch of {self.size}"
        return "" if self.is_free else f"batches of {self.least} or more"

    def padded(self, count: int) -> int:
        """Return the size of the batch in which `count` samples are computed."""
        return self.size or max(count, self.least)


def pad(values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Return [count, ...]: repeat the last row as often as needed."""
    missing = count - len(values)
    return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values


def _check_alike(of_many: npt.NDArray[Any], of_few: npt.NDArray[Any], many: int, few: int) -> None:
    """Raise ExportError if samples depend on the rest of their batch, although both batches can be computed."""
    wide, narrow = of_many.astype(np.float64), of_few.astype(np.float64)
    difference = float(np.abs(wide - narrow).max(initial=0.0))
    if difference > _ALIKE * float(np.abs(wide).max(initial=0.0)):
        raise ExportError(
            f"a sample's result differs by {difference:.3g} between a batch of {few} and one of {many}, and other "
            "sizes fail: export it without statistics of the batch, or compute each sample alone with --batch one"
        )


def find_batching(attempt: Callable[[int], npt.NDArray[Any]], usual: int, most: int) -> Batching:
    """Find the batches that a graph can compute, though it declares an open one, by trying them.

    `attempt` computes a batch and returns the result, or raises ExportError. It is asked for `usual` samples, for fewer
    and, if these fail, for up to `most`.

    Raises:
        ExportError: The graph fails for every size; the first attempt's error.
    """
    problems: list[ExportError] = []

    def shape(count: int) -> tuple[int, ...] | None:
        """Return the shape of one sample's result; None: it fails, or makes another number of results."""
        try:
            found = attempt(count).shape
        except ExportError as error:
            problems.append(error)
            return None
        return found[1:] if found and found[0] == count else None

    several = shape(usual)
    if several is not None and (usual < 3 or shape(min(usual, 3)) == several):
        return Batching() if shape(1) == several else Batching(least=2)
    for size in _SIZES:
        if size <= most and shape(size) is not None:
            if several is not None:
                both = min(size, usual)
                _check_alike(attempt(usual)[:both], attempt(size)[:both], usual, size)
            return Batching(size=size)
    if problems:
        raise problems[0]
    found = attempt(usual).shape
    if found and found[0] and found[0] % usual == 0:
        raise ExportError(
            f"gives {found[0] // usual} results for each sample, all along its batch axis. If these are the frames of "
            "videos, add --batch one"
        )
    raise ExportError(f"gives {list(found)} for {usual} samples, and no batch gives one result for each sample")
