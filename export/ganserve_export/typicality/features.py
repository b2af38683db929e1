"""Turn samples into features whose distances tell samples unlike the data from samples like them.

A picture's features are its energies: how strongly 16 small filters answer in each of 4 x 4 fields. The filters are the
principal components of the data's own patches, 7 x 7 pixels or 4 x 4 (as in PCANet, Chan et al. 2015), so they need no
labels and no training. Pixels alone miss much: a digit has pixels like those of a dark shirt, but other strokes. A
vector's features are its values in units of the data's deviation.

N = samples, H, W, C = image, h, w = image reduced and padded, S = side of a patch, K = filters, D = vector,
F = features.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ganserve_training import DataInfo

FloatArray: TypeAlias = npt.NDArray[np.float32]

LARGEST_SIDE = 32  # larger images are averaged down to it
FILTERS, FIELDS = 16, 4
_SMALL, _SMALL_PATCH, _SMALL_STRIDE = 24, 4, 1  # of images with a shorter side than 24 pixels
_PATCH, _STRIDE = 7, 2
_AT_ONCE, _MOST_VALUES = 128, 2**26  # of large images fewer, to bound the memory
_ENOUGH = 50_000  # patches to find the filters with


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PictureFeatures:
    """uint8 [N, H, W, C] -> energies float32 [N, F], F = 16 filters x 4 x 4 fields."""

    rows: FloatArray
    """[h, H]: averages the rows down to at most 32, and repeats the first and the last one."""
    columns: FloatArray
    """[W, w]: the same for columns."""
    filters: FloatArray
    """[K, C, S, S]."""
    stride: int
    """Pixels from one patch to the next."""
    field_rows: FloatArray
    """[4, rows of answers]: averages the answers of each field."""
    field_columns: FloatArray
    """[columns of answers, 4]."""

    @classmethod
    def of(cls, pictures: npt.NDArray[Any]) -> Self:
        """Return features whose filters are the principal components of the patches of these pictures."""
        _, height, width, channels = pictures.shape
        small = min(height, width) < _SMALL
        patch, stride = (_SMALL_PATCH, _SMALL_STRIDE) if small else (_PATCH, _STRIDE)
        rows, columns = _reduce(height, patch // 2), _reduce(width, patch // 2)
        answers = [(len(side) - patch) // stride + 1 for side in (rows, columns)]
        unfitted = cls(
            rows=rows,
            columns=columns.T.copy(),
            filters=np.zeros((0, channels, patch, patch), np.float32),
            stride=stride,
            field_rows=_average(answers[0], FIELDS),
            field_columns=_average(answers[1], FIELDS).T.copy(),
        )
        values = channels * patch**2
        moments, seen = np.zeros((values, values)), 0
        for part in _parts(pictures):
            patches = unfitted._patches(part).reshape(-1, values).astype(np.float64)
            moments += patches.T @ patches
            seen += len(patches)
            if seen >= _ENOUGH:
                break
        # Not centred: the first filter measures brightness.
        vectors = np.linalg.eigh(moments / seen)[1][:, ::-1][:, :FILTERS].T
        return replace(unfitted, filters=vectors.reshape(-1, channels, patch, patch).astype(np.float32))

    def __call__(self, pictures: npt.NDArray[Any]) -> FloatArray:
        """Return the energies of pictures."""
        return np.concatenate([self._energies(part) for part in _parts(pictures)])

    def _energies(self, pictures: npt.NDArray[Any]) -> FloatArray:
        answers = np.tensordot(self._patches(pictures), self.filters, ([3, 4, 5], [1, 2, 3]))  # [N, rows, columns, K]
        strength = np.abs(answers).transpose(0, 3, 1, 2)
        energies: FloatArray = (self.field_rows @ strength @ self.field_columns).reshape(len(pictures), -1)
        return energies

    def _patches(self, pictures: npt.NDArray[Any]) -> FloatArray:
        """Return the patches of reduced pictures, [N, rows, columns, C, S, S], values from 0 to 1."""
        values = pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        reduced = self.rows @ values @ self.columns
        every: FloatArray = sliding_window_view(reduced, self.filters.shape[2:], (2, 3))
        return every[:, :, :: self.stride, :: self.stride].transpose(0, 2, 3, 1, 4, 5)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VectorFeatures:
    """float32 [N, D] -> the values in units of the data's deviation, [N, D]."""

    mean: FloatArray
    """[D]."""
    scale: FloatArray
    """[D]: one divided by the deviation."""

    @classmethod
    def of(cls, info: DataInfo) -> Self:
        """Return the features of the data's vectors."""
        return cls(mean=np.asarray(info.mean, np.float32), scale=(1 / np.asarray(info.std)).astype(np.float32))

    def __call__(self, vectors: npt.NDArray[Any]) -> FloatArray:
        """Return the scaled values."""
        return np.asarray((vectors - self.mean) * self.scale, np.float32)


Features: TypeAlias = PictureFeatures | VectorFeatures


def _parts(samples: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    at_once = max(1, min(_AT_ONCE, _MOST_VALUES // int(np.prod(samples.shape[1:]))))
    for start in range(0, len(samples), at_once):
        yield samples[start : start + at_once]


def _average(size: int, parts: int) -> FloatArray:
    """Return the matrix [parts, size] that averages `size` values over equal parts, which may share a value."""
    edges = np.linspace(0, size, parts + 1)
    starts, places = edges[:-1, None], np.arange(size)[None]
    shares = np.clip(np.minimum(edges[1:, None], places + 1) - np.maximum(starts, places), 0, None)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def _reduce(size: int, margin: int) -> FloatArray:
    """Return the matrix that averages a side down to at most 32, and repeats each edge `margin` times."""
    reduced = min(size, LARGEST_SIDE)
    places = np.clip(np.arange(-margin, reduced + margin), 0, reduced - 1)
    return _average(size, reduced)[places]
