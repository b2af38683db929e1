"""CIFAR-10's binary format (Krizhevsky 2009). N = images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganserve_training.data.bad_files import ReportBadFiles
from ganserve_training.data.config import StoredDataConfig, register_source
from ganserve_training.data.labels import index_label_array
from ganserve_training.data.origin import Origin, PassedOver
from ganserve_training.data.storage.array_store import images_of_array
from ganserve_training.data.storage.stored_images import StoredImages
from ganserve_training.errors import DataError
from ganserve_training.files import reading

_SIDE, _CHANNELS, _LABELS = 32, 3, 10
_RECORD = 1 + _CHANNELS * _SIDE * _SIDE
_FOLDER = "cifar-10-batches-bin"


@register_source
@dataclass(frozen=True, kw_only=True)
class Cifar10Config(StoredDataConfig):
    """CIFAR-10's binary version."""

    source = "cifar10"

    path: str = ""
    """The folder of data_batch_*.bin, or one such file."""

    def load(self, report: ReportBadFiles | None) -> StoredImages:  # noqa: ARG002
        """Return images of 32 x 32 RGB pixels and their 10 labels from data_batch_*.bin or one such file.

        A record is a byte of the label, then the red, green and blue planes of 1,024 bytes each. The test batch is read
        only if `data.path` names it. Labels get the names in batches.meta.txt beside the files, else "0" to "9".

        Raises:
            DataError: There is no such file, or it has another format.
        """
        path = self.existing_path("either")
        if path.is_dir() and (path / _FOLDER).is_dir():
            path = path / _FOLDER
        files = [path] if path.is_file() else sorted(path.glob("data_batch_*.bin"))
        if not files:
            raise DataError(f"{path} holds no data_batch_*.bin: unpack CIFAR-10's binary version, and name its folder")
        # [N, 3073]
        records = np.concatenate([_read(file) for file in files])
        pixels = records[:, 1:].reshape(-1, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        labels, names = index_label_array(records[:, 0], str(path), _names(files[0].parent))
        others = sorted(file.name for file in files[0].parent.glob("*.bin") if file not in files)
        what = f"other batch{'' if len(others) == 1 else 'es'} ({', '.join(others)})"
        passed_over = (PassedOver(len(others), what),) if others else ()
        origin = Origin(how=f"batches {', '.join(file.name for file in files)}", passed_over=passed_over)
        return images_of_array(np.ascontiguousarray(pixels), labels, names, self, str(path), origin)


def _read(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    with reading(path, "a batch of CIFAR-10"):
        data = np.fromfile(path, np.uint8)
    if not len(data) or len(data) % _RECORD:
        raise DataError(
            f"{path} must consist of records of {_RECORD:,} bytes, a label and 32 x 32 RGB pixels "
            f"(got {len(data):,} bytes): is it whole, and CIFAR-10's binary version?"
        )
    records = data.reshape(-1, _RECORD)
    if records[:, 0].max() >= _LABELS:
        row = int(np.argmax(records[:, 0] >= _LABELS))
        raise DataError(f"{path}: record {row} has the label {records[row, 0]}, but CIFAR-10 has 0 to {_LABELS - 1}")
    return records


def _names(folder: Path) -> list[str]:
    path = folder / "batches.meta.txt"
    if not path.is_file():
        return [str(label) for label in range(_LABELS)]
    with reading(path, "text in UTF-8"):
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(names) != _LABELS:
        raise DataError(f"{path} must name {_LABELS} labels, one a line (got {len(names)})")
    return names
