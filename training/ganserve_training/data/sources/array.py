"""NumPy's files: .npy and .npz, of images or vectors. N = samples, H, W, C = image, D = values of a vector."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import StoredDataConfig, register_source
from ganserve_training.data.image_decoding import CHANNEL_NAMES
from ganserve_training.data.labels import (
    expect_label_count,
    index_label_array,
    read_labels,
    read_unless_ignored,
    used_labels,
)
from ganserve_training.data.origin import Origin, PassedOver
from ganserve_training.data.samples_in_memory import Vectors
from ganserve_training.data.storage.array_store import images_of_array
from ganserve_training.data.storage.pixel_values import as_pixels
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError
from ganserve_training.files import reading
from ganserve_training.options.checks import flag

ENDINGS = (".npy", ".npz")
_OWN_SAMPLE_KEYS, _OWN_LABEL_KEYS = ("images", "x", "vectors", "arr_0"), ("labels", "y")
# Names in well-known files come after our own.
_SAMPLE_KEYS = (*_OWN_SAMPLE_KEYS, "X", "data", "x_train", "X_train", "train_images", "train_x")
_LABEL_KEYS = (*_OWN_LABEL_KEYS, "arr_1", "Y", "target", "y_train", "train_labels", "train_y")
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
        """Return images, [N, H, W] or [N, H, W, C], or vectors, floats [N, D], from a .npy or .npz file.

        A .npy file of uint8 is mapped, so it may be larger than memory. A .npz file has its samples under images, x,
        x_train or another usual name, else in its only array of two or more axes; it may have labels under labels, y,
        y_train or another usual name, and their names under label_names.

        Raises:
            DataError: There is no such file, or it holds something else.
        """
        path = self.existing_path("file")
        arrays, unread = _read(path)
        key, label_key = _keys(arrays, path)
        samples = arrays[key]
        if samples.ndim == 0:
            raise DataError(f"{path} must hold samples, not a single value")
        labels, names = read_unless_ignored(
            lambda: _labels(path, arrays, label_key, self, len(samples)), ignored=self.labels == "ignore"
        )
        others = [*(name for name in arrays if name not in (key, label_key, _NAMES_KEY)), *unread]
        what = f"other array{'' if len(others) == 1 else 's'} ({', '.join(others)})"
        passed_over = [PassedOver(len(others), what)] if others else []
        if _is_vectors(samples):
            _refuse_image_options(path, self)
            with np.errstate(over="ignore"):  # Values too large for float32 become infinite; Vectors refuses them.
                values = np.ascontiguousarray(samples, np.float32)
            labels, names, unused = used_labels(labels, names)
            vectors = Vectors.standardised(values, labels, names)
            return replace(vectors, origin=Origin(passed_over=(*passed_over, *unused)))
        if samples.ndim not in (2, 3, 4) or samples.dtype.kind not in "uifb":
            raise DataError(
                f"{path} must hold images, uint8 [N, H, W] or [N, H, W, C], or vectors, floats [N, D] "
                f"(got {samples.dtype} {list(samples.shape)}): scale images to 0 … 255 and store them as uint8"
            )
        if samples.ndim == 3 and samples.shape[2] in CHANNEL_NAMES and samples.shape[1] != samples.shape[2]:
            raise DataError(f"{path} holds one image, {list(samples.shape)}: store many, [N, H, W] or [N, H, W, C]")
        pixels, how = as_pixels(samples, str(path))
        if pixels.ndim == 2:
            raise DataError(
                f"{path} holds whole numbers {list(samples.shape)}, whose rows are no square images: store vectors as "
                'floats, array.astype("float32")'
            )
        origin = Origin(how=how, passed_over=tuple(passed_over))
        return images_of_array(pixels, labels, names, self, str(path), origin)


def holds_vectors(path: Path) -> bool:
    """Return whether a .npy or .npz file holds vectors rather than images."""
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return False
    arrays, _ = _read(path)
    return _is_vectors(arrays[_keys(arrays, path)[0]])


def _is_vectors(samples: NDArray[Any]) -> bool:
    return samples.ndim == 2 and samples.dtype.kind == "f"


def _keys(arrays: dict[str, NDArray[Any]], path: Path) -> tuple[str, str | None]:
    """Return the names of the samples and of their labels; None: there are no labels."""
    key = _first_of(arrays, _SAMPLE_KEYS, _OWN_SAMPLE_KEYS)
    label_key = _first_of(arrays, _LABEL_KEYS, _OWN_LABEL_KEYS)
    if key is None:
        several = [name for name, array in arrays.items() if array.ndim >= 2 and name not in _LABEL_KEYS]
        if len(several) != 1:
            raise DataError(
                f"{path} must hold {' or '.join(_OWN_SAMPLE_KEYS)} (it has: {', '.join(arrays) or 'nothing'})"
            )
        key = several[0]
    if label_key is None:
        count = len(arrays[key]) if arrays[key].ndim else 0
        single = [name for name, array in arrays.items() if name not in (key, _NAMES_KEY) and array.shape == (count,)]
        label_key = single[0] if len(single) == 1 and arrays[single[0]].dtype.kind in "iuUS" else None
    return key, label_key


def _labels(
    path: Path, arrays: dict[str, NDArray[Any]], key: str | None, config: ArrayConfig, count: int
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if config.labels_path is not None:
        if key is not None:
            raise DataError(f"{path} has its own labels under {key!r}: leave --data.labels-path out")
        found = read_labels(Path(config.labels_path))
        expect_label_count(found, count, config.labels_path, str(path))
        return index_label_array(found, config.labels_path)
    if key is None:
        if _NAMES_KEY in arrays:
            raise DataError(f"{path} has {_NAMES_KEY}, but no labels under {' or '.join(_LABEL_KEYS)}")
        return None, ()
    names = None
    if _NAMES_KEY in arrays:
        if arrays[_NAMES_KEY].dtype.kind != "U" or arrays[_NAMES_KEY].ndim != 1:
            raise DataError(f"{path}: {_NAMES_KEY} must be text, [K] (got {arrays[_NAMES_KEY].dtype})")
        names = arrays[_NAMES_KEY].tolist()
    labels = arrays[key]
    expect_label_count(labels, count, f"{path} ({key})", str(path))
    return index_label_array(labels, f"{path} ({key})", names)


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return a file's arrays by name, and the names of those left out; the array of a .npy file is named arr_0."""
    with reading(path, "a .npy or .npz file of numbers or text"), np.errstate(over="ignore"):
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"arr_0": loaded}, []
        with loaded:
            known = [key for key in (*_SAMPLE_KEYS, *_LABEL_KEYS, _NAMES_KEY) if key in loaded]
            wanted = known if any(key in _SAMPLE_KEYS for key in known) else loaded.files
            return {key: loaded[key] for key in wanted}, [key for key in loaded.files if key not in wanted]


def _first_of(arrays: dict[str, NDArray[Any]], keys: tuple[str, ...], own: tuple[str, ...]) -> str | None:
    """Return the first of the keys that a file has; None: it has none. Two of our own contradict each other."""
    found = [key for key in keys if key in arrays]
    if sum(key in own for key in found) > 1:
        raise DataError(f"there must be only one of {' and '.join(key for key in found if key in own)} in the file")
    return found[0] if found else None


def _refuse_image_options(path: Path, config: ArrayConfig) -> None:
    defaults = {"size": None, "crop": "center", "channels": "auto", "flip": False}
    for name, default in defaults.items():
        if getattr(config, name) != default:
            raise DataError(f"{flag(f'data.{name}')} {getattr(config, name)}: needs images, and {path} holds vectors.")
