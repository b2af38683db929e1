"""Write samples to files for download."""

import tempfile
import zipfile
from pathlib import Path
from typing import Literal, TypeAlias

from ganserve import Marking, SampleBatch
from ganserve._results.whole_files import whole_file

Kind: TypeAlias = Literal["png", "zip", "npz", "csv"]
"""One picture of all samples, a PNG for each sample, everything as arrays, or vectors as a table."""


def write(batch: SampleBatch, kind: Kind, folder: Path, mark: Marking = True) -> Path:
    """Write a batch to a new folder inside `folder`, named for model, version and seed; pictures are marked."""
    place = Path(tempfile.mkdtemp(dir=folder))
    stem = f"{batch.model}-{batch.version}" + ("" if batch.seed is None else f"-seed-{batch.seed}")
    file = place / f"{stem}.{kind}"
    if kind == "png":
        return batch.save_grid(file, mark=mark)
    if kind == "npz":
        return batch.save_npz(file)
    if kind == "csv":
        return batch.save_csv(file)
    with (
        whole_file(file) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive,
    ):  # PNGs are compressed already
        for picture in batch.save(place / stem, mark=mark):
            archive.write(picture, picture.name)
            picture.unlink()
    (place / stem).rmdir()
    return file
