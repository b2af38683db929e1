"""Write the samples of a shard as Parquet, as an archive of WebDataset, or as a folder of PNGs.

The same samples always give the same bytes: nothing depends on the time, the machine or the order of work.
N = samples, Z = values of one latent.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ganserve_server.bulk.parquet import hugging_face, vectors
from ganserve_server.bulk.store import INDEX_FILE
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.pictures.formats import is_image

if TYPE_CHECKING:
    from ganserve_server.bulk.sample_job import SampleJob

_LISTS = ("sample", "latent")  # columns of values
_MOST_LABEL_BYTES = 100  # in the name of a file, which file systems limit to 255
_FILE_ENDINGS = {"png": "png", "jpeg": "jpg", "webp": "webp", "raw": "npy"}


@dataclass(kw_only=True, slots=True)
class Part:
    """Consecutive samples of a shard."""

    first: int
    """Index of the first one in the seed's sequence."""
    samples: NDArray[np.generic]
    """[N, ...]."""
    files: list[bytes] | None
    """The samples as picture files; None if they stay raw."""
    labels: NDArray[np.int64] | None
    """[N]."""
    latents: NDArray[np.float32] | None
    """[N, Z]."""
    scores: NDArray[np.float32] | None
    """[N]."""
    probabilities: NDArray[np.float32] | None
    """[N]."""

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFacts:
    """Facts that all shards of a job share."""

    info: ModelInfo
    job: SampleJob
    description: dict[str, Any]
    """The job as its file describes it; a Parquet file repeats it."""

    @property
    def ending(self) -> str:
        """Ending of one sample's file."""
        return _FILE_ENDINGS[self.job.encoding if is_image(self.info) else "raw"]


class Writer(Protocol):
    """Writes one shard."""

    def add(self, part: Part) -> None:
        """Write the next samples."""

    def close(self) -> None:
        """Finish the shard, or stop after an error."""


class ParquetWriter:
    """Writes one row a sample, and one row group for each part."""

    def __init__(self, path: Path, facts: ShardFacts) -> None:
        import pyarrow.parquet

        self._facts = facts
        self._schema = _schema(facts)
        self._file = path.open("xb")
        names = self._schema.names
        self._writer = pyarrow.parquet.ParquetWriter(
            self._file,
            self._schema,
            # Picture files are compressed already.
            compression={name: "none" if name == "image" else "zstd" for name in names},
            use_dictionary=[name for name in names if name == "label"],
            # Nobody looks for the smallest picture.
            write_statistics=[name for name in names if name not in ("image", *_LISTS)],
            # Each byte of the values apart: raw samples take half the time, and two thirds of the space.
            column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in names if name in _LISTS},
        )

    def add(self, part: Part) -> None:
        """Write a row group."""
        import pyarrow as pa

        facts = self._facts
        columns: dict[str, Any] = {"index": np.arange(part.first, part.first + len(part), dtype=np.int64)}
        if part.files is not None:
            paths = [f"{index:012d}.{facts.ending}" for index in columns["index"].tolist()]
            columns["image"] = pa.StructArray.from_arrays(
                [pa.array(part.files, pa.binary()), pa.array(paths, pa.string())], ["bytes", "path"]
            )
        else:
            columns["sample"] = vectors(part.samples)
        if part.latents is not None:
            columns["latent"] = vectors(part.latents)
        columns |= {"label": part.labels, "score": part.scores, "probability": part.probabilities}
        self._writer.write_table(pa.table([columns[name] for name in self._schema.names], schema=self._schema))

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()
        self._file.close()


def _schema(facts: ShardFacts) -> Any:
    import pyarrow as pa

    info, job = facts.info, facts.job
    kinds: dict[str, Any] = {"index": pa.int64()}
    if is_image(info) and job.encoding != "raw":
        kinds["image"] = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    else:
        value = pa.from_numpy_dtype(info.sample_dtype)
        kinds["sample"] = pa.list_(value, int(np.prod(info.sample_shape)))
    if info.label_names:
        kinds["label"] = pa.int64()
    if job.scores:
        kinds |= {"score": pa.float32(), "probability": pa.float32()}
    if job.latents:
        kinds["latent"] = pa.list_(pa.float32(), info.latent_dimension)
    metadata = {
        "huggingface": hugging_face(kinds, info.label_names),
        "ganserve": json.dumps({"sample_shape": list(info.sample_shape), **facts.description}),
    }
    return pa.schema(list(kinds.items()), metadata)


class ArchiveWriter:
    """Writes a tar archive of WebDataset: the files of a sample have one name, and endings that say what they are."""

    def __init__(self, path: Path, facts: ShardFacts) -> None:
        self._facts = facts
        self._file = path.open("xb")

    def add(self, part: Part) -> None:
        """Write the files of samples: picture or .npy, .cls (the label's index), .json, .latent.npy."""
        for i in range(len(part)):
            name = f"{part.first + i:012d}"
            sample = _npy(part.samples[i]) if part.files is None else part.files[i]
            self._write(f"{name}.{self._facts.ending}", sample)
            if part.labels is not None:
                self._write(f"{name}.cls", str(part.labels[i]).encode())
            self._write(f"{name}.json", json.dumps(_facts_of(part, i, self._facts.info)).encode())
            if part.latents is not None:
                self._write(f"{name}.latent.npy", _npy(part.latents[i]))

    def close(self) -> None:
        """Write the end of the archive."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.close()

    def _write(self, name: str, content: bytes) -> None:
        self._file.write(tar_header(name, len(content)))
        self._file.write(content)
        self._file.write(bytes(-len(content) % tarfile.BLOCKSIZE))


# A header is the name [0:100], mode and owner, the size [124:136], the time [136:148], the sum of all bytes, counted
# with spaces in its own place [148:156], and more that is the same for all files.
_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_HEADER_SUM = sum(_HEADER[:124]) + sum(_HEADER[136:148]) + sum(b" " * 8) + sum(_HEADER[156:])


def tar_header(name: str, size: int) -> bytes:
    """Return the header of a file, as `tarfile` writes it in several times as long; the name has at most 100 bytes."""
    place, digits = name.encode(), b"%011o" % size
    total = _HEADER_SUM + sum(place) + sum(digits)
    parts = (place.ljust(100, b"\0"), _HEADER[100:124], digits, _HEADER[136:148], total, _HEADER[155:])
    return b"%b%b%b\0%b%06o\0%b" % parts


class FolderWriter:
    """Writes a folder with a PNG for each sample, and last a table of them."""

    def __init__(self, path: Path, facts: ShardFacts) -> None:
        self._path, self._info = path, facts.info
        self._rows: list[dict[str, Any]] = []
        path.mkdir()

    def add(self, part: Part) -> None:
        """Write the pictures of samples, named for index and label."""
        assert part.files is not None, "the format png has the encoding png"
        for i, file in enumerate(part.files):
            facts = _facts_of(part, i, self._info)
            label = f"-{_in_file_name(facts['label_name'])}" if "label_name" in facts else ""
            name = f"{facts['index']:012d}{label}.png"
            (self._path / name).write_bytes(file)
            row = {"file_name": name, **facts}
            if part.latents is not None:
                row["latent"] = " ".join(map(str, part.latents[i].tolist()))
            self._rows.append(row)

    def close(self) -> None:
        """Write the table."""
        text = io.StringIO()
        table = csv.DictWriter(text, list(self._rows[0]) if self._rows else ["file_name"], lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows)
        (self._path / INDEX_FILE).write_text(text.getvalue(), "utf-8")


WRITERS: dict[str, Callable[[Path, ShardFacts], Writer]] = {
    "parquet": ParquetWriter,
    "webdataset": ArchiveWriter,
    "png": FolderWriter,
}
"""The writer of each format."""


def _facts_of(part: Part, i: int, info: ModelInfo) -> dict[str, Any]:
    """Return what is known of one sample, without its values."""
    facts: dict[str, Any] = {"index": part.first + i}
    if part.labels is not None:
        label = int(part.labels[i])
        facts |= {"label": label, "label_name": info.label_names[label]}
    if part.scores is not None and part.probabilities is not None:
        facts |= {"score": part.scores[i].item(), "probability": part.probabilities[i].item()}
    return facts


def _in_file_name(label: str) -> str:
    readable = re.sub(r"[^\w.-]+", "_", label)
    return readable.encode()[:_MOST_LABEL_BYTES].decode(errors="ignore")


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
