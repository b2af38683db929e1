"""The fields of a `SampleBatch` that pictures and tables need, so that they need not import it."""

# N = samples, H = height, W = width, C = channels, D = values of a vector

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Drawn(Protocol):
    """Samples that a model drew; `SampleBatch` documents the fields."""

    @property
    def samples(self) -> npt.NDArray[Any]: ...
    @property
    def images(self) -> npt.NDArray[np.uint8]: ...
    @property
    def indices(self) -> npt.NDArray[np.int64]: ...
    @property
    def labels(self) -> npt.NDArray[np.int64] | None: ...
    @property
    def label_names(self) -> tuple[str, ...] | None: ...
    @property
    def scores(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def probabilities(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...
    def __getitem__(self, key: slice) -> Drawn: ...
