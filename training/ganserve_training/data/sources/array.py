"""NumPy's files: .npy and .npz, of images or vectors. N = samples, H, W, C = image, D = values of a vector."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import StoredDataConfig, register_source
from ganserve_training.data.labels import expect_label_count, index_label_array, read_labels, used_labels
from ganserve_training.data.origin import Origin
from ganserve_training.data.samples_in_memory import Vectors
from ganserve_training.data.storage.array_store import images_of_array
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError
from ganserve_training.files import reading
from ganserve_training.options.checks import flag

_SAMPLE_KEYS = ("images", "x", "vectors", "arr_0")
_LABEL_KEYS = ("labels", "y")
_NAMES_KEY = "label_names"


@register_source
@dataclass(frozen=True, kw_only=True)
class ArrayConfig(StoredDataConfig):
    """Images or vectors in a .npy or .npz file."""

    source = "array"

    path: str = ""
    """The .npy or .npz file."""
    labels_path: str | None = None
    """A .npy file of labels."""

    def load(self, report: ReportBadFiles | None) -> StoredImages | Vectors:  # noqa: ARG002
        """Return images, uint8 [N, H, W] or [N, H, W, C], or vectors, floats [N, D], from a .npy or .npz file.

        A .npy file is mapped, so it may be larger than memory. A .npz file has its samples under images, x, vectors or
        arr_0; it may have labels under labels or y, and their names under label_names.

        Raises:
            DataError: There is no such file, or it holds something else.
        """
        path = self.existing_path("file")
        arrays = _read(path)
        key = _one_of(arrays, _SAMPLE_KEYS)
        if key is None:
            raise DataError(f"{path} must hold {' or '.join(_SAMPLE_KEYS)} (it has: {', '.join(arrays) or 'nothing'})")
        samples = arrays[key]
        if samples.ndim == 0:
            raise DataError(f"{path} must hold samples, not a single value")
        labels, names = _labels(path, arrays, self)
        if labels is not None:
            expect_label_count(labels, len(samples), self.labels_path or str(path), str(path))
        if samples.ndim == 2 and samples.dtype.kind == "f":
            _refuse_image_options(path, self)
            with np.errstate(over="ignore"):  # Values too large for float32 become infinite; Vectors refuses them.
                values = np.ascontiguousarray(samples, np.float32)
            labels, names, unused = used_labels(labels, names)
            vectors = Vectors.standardised(values, labels, names)
            return replace(vectors, origin=Origin(passed_over=tuple(unused)))
        if samples.dtype != np.uint8 or samples.ndim not in (3, 4):
            raise DataError(
                f"{path} must hold images, uint8 [N, H, W] or [N, H, W, C], or vectors, floats [N, D] "
                f"(got {samples.dtype} {list(samples.shape)}): scale images to 0 … 255 and store them as uint8"
            )
        return images_of_array(samples, labels, names, self, str(path))


def _labels(
    path: Path, arrays: dict[str, NDArray[Any]], config: ArrayConfig
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    key = _one_of(arrays, _LABEL_KEYS)
    if config.labels_path is not None:
        if key is not None:
            raise DataError(f"{path} has its own labels under {key!r}: leave --data.labels-path out")
        return index_label_array(read_labels(Path(config.labels_path)), config.labels_path)
    if key is None:
        if _NAMES_KEY in arrays:
            raise DataError(f"{path} has {_NAMES_KEY}, but no labels under {' or '.join(_LABEL_KEYS)}")
        return None, ()
    names = None
    if _NAMES_KEY in arrays:
        if arrays[_NAMES_KEY].dtype.kind != "U" or arrays[_NAMES_KEY].ndim != 1:
            raise DataError(f"{path}: {_NAMES_KEY} must be text, [K] (got {arrays[_NAMES_KEY].dtype})")
        names = arrays[_NAMES_KEY].tolist()
    return index_label_array(arrays[key], f"{path} ({key})", names)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Return a file's arrays by name; the array of a .npy file is named arr_0."""
    with reading(path, "a .npy or .npz file of numbers or text"), np.errstate(over="ignore"):
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"arr_0": loaded}
        with loaded:
            wanted = [key for key in (*_SAMPLE_KEYS, *_LABEL_KEYS, _NAMES_KEY) if key in loaded]
            return {key: loaded[key] for key in wanted or loaded}


def _one_of(arrays: dict[str, NDArray[Any]], keys: tuple[str, ...]) -> str | None:
    found = [key for key in keys if key in arrays]
    if len(found) > 1:
        raise DataError(f"there must be only one of {' and '.join(found)} in the file")
    return found[0] if found else None


def _refuse_image_options(path: Path, config: ArrayConfig) -> None:
    defaults = {"size": None, "crop": "center", "channels": "auto", "flip": False}
    for name, default in defaults.items():
        if getattr(config, name) != default:
            raise DataError(f"{flag(f'data.{name}')} {getattr(config, name)}: needs images, and {path} holds vectors.")
