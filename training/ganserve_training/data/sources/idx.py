"""IDX files of images and labels, such as MNIST. N = images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import StoredDataConfig, register_source
from ganserve_training.data.idx_file import read_idx
from ganserve_training.data.labels import expect_label_count, index_label_array, read_labels
from ganserve_training.data.origin import Origin, PassedOver
from ganserve_training.data.storage.array_store import images_of_array
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError

_ENDINGS = ("", ".gz")
# Names on MNIST's own page, and names that unpacked files often have.
_IMAGES = ("train-images-idx3-ubyte", "train-images.idx3-ubyte")


@register_source
@dataclass(frozen=True, kw_only=True)
class IdxConfig(StoredDataConfig):
    """Images and labels in IDX files, such as MNIST."""

    source = "idx"

    path: str = ""
    """The images file, or its folder."""
    labels_path: str | None = None
    """The labels file where it has no standard name."""

    def load(self, report: ReportBadFiles | None) -> StoredImages:  # noqa: ARG002
        """Return images from an IDX file, and their labels from the one beside it.

        `data.path` is the images file, or a folder with train-images-idx3-ubyte (.gz). The labels file is
        `data.labels_path`, else it has the same name with labels and idx1 in place of images and idx3.

        Raises:
            DataError: A file is missing, or its magic number, dimensions or length are wrong.
        """
        return self.load_idx()

    def load_idx(self, label_names: Sequence[str] | None = None) -> StoredImages:
        """Return the images of `data.path`, whose labels get names other than their numbers where given."""
        path = _images_path(self.existing_path("either"))
        pixels = self.padded(read_idx(path, dimensions=(3, 4)))
        labels, names = _labels(path, self, label_names)
        if labels is not None:
            expect_label_count(labels, len(pixels), "the labels file", str(path))
        others = sorted(file.name for file in path.parent.glob("*ubyte*") if _is_other(file, path))
        what = f"other file{'' if len(others) == 1 else 's'} ({', '.join(others)})"
        passed_over = (PassedOver(len(others), what),) if others else ()
        origin = Origin(how=f"images of {path.name}", passed_over=passed_over)
        return images_of_array(pixels, labels, names, self, str(path), origin)

    def padded(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the images of the file, uint8 [N, H, W] or [N, H, W, C], with a border where a source adds one."""
        return pixels


def _images_path(path: Path) -> Path:
    """Return the images file at a path or in a folder, else below it, as in MNIST/raw: a training file comes first."""
    if path.is_file():
        return path
    for place in ("", "*/", "*/*/"):
        for name in (*_IMAGES, "*train-images*idx[34]*", "*images*idx[34]*"):
            found = sorted({file for ending in _ENDINGS for file in path.glob(place + name + ending) if file.is_file()})
            sets = {file.name.removesuffix(".gz"): file for file in reversed(found)}
            if len(sets) > 1:
                raise DataError(f"{path} holds several sets, {', '.join(sorted(sets))}: name one, --data {found[0]}")
            if sets:
                return found[0]
    raise DataError(f"{path} holds no file of images, such as {_IMAGES[0]}: name it with --data")


def _is_other(file: Path, images: Path) -> bool:
    """Return whether a file beside the images is neither these images nor their labels, packed or not."""
    name, taken = file.name.removesuffix(".gz"), images.name.removesuffix(".gz")
    return name not in (taken, taken.replace("images", "labels").replace("idx3", "idx1"))


def _labels(
    path: Path, config: IdxConfig, label_names: Sequence[str] | None
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if config.labels_path is not None:
        return index_label_array(read_labels(Path(config.labels_path)), config.labels_path, label_names)
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    plain = beside.with_suffix("") if beside.suffix == ".gz" else beside
    for candidate in (plain, plain.with_name(plain.name + ".gz")):
        if candidate != path and candidate.is_file():
            return index_label_array(read_idx(candidate, dimensions=(1,)), str(candidate), label_names)
    if config.labels == "use":
        raise DataError(
            f"{path} has no labels beside it ({plain.name}, {plain.name}.gz): name them with --data.labels-path, "
            "or learn without: --data.labels ignore"
        )
    return None, ()
