"""Write samples to tables, and read them from .csv, .npy and .npz files."""

# N = samples, D = values of a vector

import csv
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganserve._errors import UnsupportedByModel
from ganserve._results.batch_fields import Drawn
from ganserve._results.input_source import Source
from ganserve._results.whole_files import write_whole

SUFFIXES = (".npy", ".npz", ".csv")
_VALUE = re.compile(r"x[0-9]+")


def write_csv(batch: Drawn, file: Path) -> Path:
    """Write a batch of vectors as a table; see `SampleBatch.save_csv`."""
    if batch.samples.ndim != 2:
        raise UnsupportedByModel(f"model {batch.model!r} makes images, not vectors: use save_npz or save")
    columns: dict[str, list[str]] = {f"x{i}": _numbers(values) for i, values in enumerate(batch.samples.T)}
    if batch.label_names is not None:
        columns["label"] = list(batch.label_names)
    for name, values in (("score", batch.scores), ("probability", batch.probabilities)):
        if values is not None:
            columns[name] = _numbers(values)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_whole(file, table.getvalue().encode())
    return file


def read_samples(file: Path, source: Source) -> tuple[npt.NDArray[Any], list[str] | None, str | None]:
    """Return the samples of a .npy, .npz or .csv file, with their labels' names and model where the file has them.

    A .npz has "samples" (and "label_names", "model"), a .csv the columns x0, x1 … (and "label"), as
    `SampleBatch.save_npz` and `save_csv` write them.
    """
    try:
        if file.suffix.lower() == ".csv":
            return *_read_csv(file), None
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None, None
        with loaded:
            labels = loaded["label_names"].tolist() if "label_names" in loaded else None
            return loaded["samples"], labels, str(loaded["model"]) if "model" in loaded else None
    except FileNotFoundError as error:
        raise source.refuse("does not exist") from error
    except (ValueError, KeyError, OSError, EOFError, csv.Error, zipfile.BadZipFile) as error:
        raise source.refuse(f"cannot be read as samples ({error})") from error


def _read_csv(file: Path) -> tuple[npt.NDArray[np.float64], list[str] | None]:
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream, strict=True)
        names = [name for name in reader.fieldnames or () if _VALUE.fullmatch(name)]
        if not names:
            raise ValueError("no columns x0, x1 …")
        rows = list(reader)
    values = np.array([[float(row[name] or "nan") for name in names] for row in rows]).reshape(len(rows), len(names))
    labelled = "label" in (reader.fieldnames or ())
    return values, [row["label"] for row in rows] if labelled else None


def _numbers(values: npt.NDArray[Any]) -> list[str]:
    # With nine digits, every float32 comes back as itself.
    return [f"{value:.9g}" for value in values.tolist()]
