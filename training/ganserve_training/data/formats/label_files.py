"""Files of labels alone: NumPy's .npy, or IDX. N = samples."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.formats.idx import read_idx
from ganserve_training.data.paths import existing
from ganserve_training.errors import DataError


def read_labels(path: Path) -> NDArray[Any]:
    """Labels, [N], from a .npy file (integers or text) or an IDX file (bytes).

    Raises:
        DataError: There is no such file, or it holds something else.
    """
    path = existing(path.expanduser(), kind="file", option="data.labels_path")
    if path.suffix.lower() == ".csv":
        raise DataError(
            f"--data.labels-path {path}: must be a .npy or an IDX file. A CSV file is for --data.source folder."
        )
    if path.suffix.lower() != ".npy":
        return read_idx(path, dimensions=(1,))
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} can't be read as a .npy file of integers or text: {error}") from error
    assert isinstance(labels, np.ndarray)
    return labels
