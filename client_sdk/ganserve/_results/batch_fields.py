"""The fields of a `SampleBatch` and a `Sample` that pictures and tables need, so that they need not import these."""

# N = samples, H = height, W = width, C = channels, D = values of a vector, Z = latent

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ganserve._results.origin import Origin


class _FromModel(Protocol):
    """Facts about samples that a model drew."""

    @property
    def origin(self) -> Origin | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...


class Drawn(_FromModel, Protocol):
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
    def latents(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def w(self) -> npt.NDArray[np.float32] | None: ...
    def __getitem__(self, key: slice) -> Drawn: ...


class DrawnSample(_FromModel, Protocol):
    """One sample that a model drew; `Sample` documents the fields."""

    @property
    def index(self) -> int: ...
    @property
    def label(self) -> int | None: ...
    @property
    def label_name(self) -> str | None: ...
    @property
    def latent(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def w(self) -> npt.NDArray[np.float32] | None: ...
