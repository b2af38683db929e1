"""Read w's from a file, and draw their samples: `ganserve sample --w FILE`."""

# N = samples, L = layers, W = values of one w

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ganserve._calls.arrays import w_array
from ganserve._errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from ganserve import Client, ModelInfo, SampleBatch

_REQUEST_BYTES = 4 * 2**20  # of w's; the server takes 16 MiB by default


@dataclass(frozen=True, kw_only=True)
class GivenW:
    """The w's of a file, with its other facts about their samples."""

    w: npt.NDArray[np.float32]
    """[N, L, W]."""
    labels: npt.NDArray[np.int64] | None
    """[N]."""
    seed: int | None
    """The seed of the samples, which draws their noise."""
    offset: int
    """Index of the first sample."""

    @classmethod
    def read(cls, file: Path) -> GivenW:
        """Read what `--return-w --out NAME.npz` wrote, or an array [N, L, W] of NAME.npy."""
        try:
            content = np.load(file, allow_pickle=False)
            arrays = {"w": content} if isinstance(content, np.ndarray) else {name: content[name] for name in content}
        except FileNotFoundError:
            raise InvalidRequest.of("--w", f"is {str(file)!r}; there is no such file") from None
        except OSError as error:
            raise InvalidRequest.of("--w", f"is {str(file)!r}, which cannot be read ({error.strerror})") from None
        except (ValueError, EOFError, zipfile.BadZipFile):
            raise InvalidRequest.of(
                "--w",
                f"is {str(file)!r}, which cannot be read as an archive or array of NumPy; "
                "expected a file of --return-w --out NAME.npz",
            ) from None
        if "w" not in arrays:
            raise InvalidRequest.of(
                "--w", f"is {str(file)!r}, which has no array w; expected a file of --return-w --out NAME.npz"
            )
        given = np.asarray(arrays["w"])
        try:
            w = w_array(given, len(given) if given.ndim else 1)
        except InvalidRequest as error:
            raise InvalidRequest.of("--w", f"is {str(file)!r}, whose w {error.violations[0].description}") from None
        labels, seed, indices = (arrays.get(name) for name in ("labels", "seed", "indices"))
        return cls(
            w=w,
            labels=_whole(labels, (len(w),), "labels", file),
            seed=None if seed is None else int(_whole(seed, (), "seed", file)),
            offset=0 if indices is None else int(_whole(indices, (len(w),), "indices", file)[0]),
        )

    def draw(
        self, client: Client, info: ModelInfo, label: Any, seed: int | None, **options: Any
    ) -> Iterator[SampleBatch]:
        """Draw the samples, with other labels and another seed if these are given."""
        step = max(1, _REQUEST_BYTES // self.w[0].nbytes)
        labels = self.labels if info.conditional else None
        seed, offset = (self.seed, self.offset) if seed is None else (seed, 0)
        for start in range(0, len(self.w), step):
            rows = slice(start, start + step)
            own = label if label is not None or labels is None else labels[rows]
            batch = client.sample(len(self.w[rows]), own, w=self.w[rows], seed=seed, offset=offset + start, **options)
            seed = batch.seed
            yield batch


def _whole(array: Any, shape: tuple[int, ...], name: str, file: Path) -> Any:
    """Return an array of whole numbers of this shape, or None for None."""
    if array is not None and (array.dtype.kind not in "iu" or array.shape != shape):
        found = f"is {array.dtype} {list(array.shape)}; expected whole numbers {list(shape)}"
        raise InvalidRequest.of("--w", f"is {str(file)!r}, whose {name} {found}")
    return array
