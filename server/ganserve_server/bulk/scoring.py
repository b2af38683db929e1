"""Score the samples of files and write the scores as Parquet. N = samples."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import tensor_pb2
from ganserve_server.bulk.libraries import require
from ganserve_server.bulk.parquet import hugging_face
from ganserve_server.bulk.run import Shard, own_thread, side_by_side
from ganserve_server.bulk.sample_task import describe
from ganserve_server.bulk.score_rows import Row, parts_of
from ganserve_server.bulk.sources import Source
from ganserve_server.error_text import listed
from ganserve_server.errors import BulkError, JobError, RequestError
from ganserve_server.models.model import Model
from ganserve_server.models.package_files import Package
from ganserve_server.pictures.decoding import decoded_each
from ganserve_server.pictures.formats import is_image
from ganserve_server.pictures.threads import PictureThreads
from ganserve_server.queue.options import QueueOptions
from ganserve_server.sampling.drawing import score
from ganserve_server.settings import ServerConfig

_OPTIONS = QueueOptions(bulk=True, always_admit=True)
_PICTURES_IN_SHARD = 10_000
_PART_BYTES, _MOST_IN_PART = 8 * 2**20, 512


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreTask:
    """Files to score with a model."""

    unit: ClassVar[str] = "files"
    source: Source
    label: int | None
    """Label of all samples; None: their own."""
    description: dict[str, Any]
    """Facts on which the shards depend."""

    @classmethod
    def of(cls, source: Source, label: int | None, package: Package, config: ServerConfig) -> ScoreTask:
        """Describe the scoring of files by a model; changed files are another job."""
        files = hashlib.sha256(json.dumps(source.files).encode()).hexdigest()
        description = describe("score", package, config) | {
            "files": source.place,
            "files_kind": source.kind,
            "files_sha256": files,
            "label": None if label is None else package.info.label_names[label],
        }
        return cls(source=source, label=label, description=description)

    def shards(self) -> list[Shard]:
        """Return a shard for each file, or for 10,000 pictures; the content of each is its files."""
        step = _PICTURES_IN_SHARD if self.source.kind == "pictures" else 1
        names = [name for name, _ in self.source.files]
        parts = [names[start : start + step] for start in range(0, len(names), step)]
        return [
            Shard(f"scores-{number:05d}-of-{len(parts):05d}.parquet", len(part), part)
            for number, part in enumerate(parts)
        ]

    def open(self, model: Model) -> Scorer:
        """Return the worker; raise BulkError if the model cannot score."""
        if model.critic is None:
            reason = model.info.critic_absence or "export it with its critic"
            raise JobError(f"--model {model.info.name}: has no critic and cannot score: {reason}.")
        return Scorer(model, self)


class Scorer:
    """Makes the shards of a `ScoreTask`; a `run.Worker`."""

    def __init__(self, model: Model, task: ScoreTask) -> None:
        self._model, self._task = model, task
        self._threads = PictureThreads()
        self._schema = _schema(model, task.description)

    async def fill(self, shard: Shard, path: Path, tell: Callable[[int], None]) -> None:
        """Score the samples of a shard's files, and report each further number of finished files."""
        import pyarrow.parquet

        task, info = self._task, self._model.info
        most = max(1, min(_MOST_IN_PART, _PART_BYTES // info.sample_bytes))
        pictures = task.source.kind == "pictures"
        with (
            path.open("xb") as file,
            pyarrow.parquet.ParquetWriter(file, self._schema, compression="zstd") as writer,
            own_thread() as run,
        ):
            parts = parts_of(task.source, shard.content, most)
            tables = side_by_side(parts, self._part, lambda part: len(part) * 2 * info.sample_bytes)
            async with contextlib.aclosing(tables):
                async for table in tables:
                    await run(writer.write_table, table)
                    if pictures:
                        tell(table.num_rows)
        if not pictures:
            tell(1)

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    async def _part(self, rows: list[Row]) -> Any:
        import pyarrow as pa

        info = self._model.info
        samples, errors = await self._samples(rows)
        labels = self._labels(rows) if info.critic_takes_labels else None
        good = np.array([not error for error in errors])
        columns: dict[str, Any] = {"name": [row.name for row in rows], "label": labels}
        columns["error"] = [error or None for error in errors]
        values = {name: np.zeros(len(rows), np.float32) for name in ("score", "probability", "typicality")}
        if good.any():
            own = None if labels is None else labels[good]
            try:
                scored = await score(self._model, samples[good], own, _OPTIONS, ranked=True)
            except RequestError as error:
                raise BulkError(f"{rows[0].name}: {error}") from error
            values["score"][good], values["probability"][good] = scored.scores, scored.probabilities
            if scored.typicality is not None:
                values["typicality"][good] = scored.typicality
        for name, array in values.items():
            columns[name] = pa.array(array, mask=~good)
        if info.atypical_until is not None:
            unlike = values["typicality"] <= info.atypical_until
            columns["out_of_distribution"] = pa.array(unlike, mask=~good)
        return pa.table([columns[name] for name in self._schema.names], schema=self._schema)

    def _labels(self, rows: Sequence[Row]) -> NDArray[np.int64]:
        """Return the labels of samples, [N]."""
        info = self._model.info
        if self._task.label is not None:
            return np.full(len(rows), self._task.label, np.int64)
        known: dict[str | int | None, int] = dict(info.label_indices) | dict(enumerate(range(len(info.label_names))))
        known |= {str(i): i for i in range(len(info.label_names)) if str(i) not in info.label_indices}
        for row in rows:
            if row.label not in known:
                what = "no label" if row.label is None else f"the label {row.label!r}"
                names = listed(info.label_names)
                raise JobError(
                    f"FILES {row.name}: has {what}; model {info.name!r} scores by label, one of {names}. Give --label, "
                    "or name the folder of the pictures so."
                )
        return np.array([known[row.label] for row in rows], np.int64)

    async def _samples(self, rows: list[Row]) -> tuple[NDArray[np.generic], list[str]]:
        """Return the samples in the model's form, [N, ...], and the problem of each, "" for none."""
        info = self._model.info
        samples = np.zeros((len(rows), *info.sample_shape), info.sample_dtype)
        errors = [""] * len(rows)
        files = []
        for i, row in enumerate(rows):
            if not isinstance(row.content, bytes):
                errors[i] = _place_values(samples[i], row.content)
            elif not is_image(info):
                errors[i] = "is a picture; the model scores vectors"
            elif (encoding := _encoding(row.content)) is None:
                errors[i] = "is not a PNG, JPEG or WebP file" if row.content else "is empty"
            else:
                files.append((i, row.content, encoding))
        if files:
            where, contents, encodings = zip(*files, strict=True)
            decoded, reasons = await decoded_each(self._threads, contents, encodings, info.sample_shape)
            samples[list(where)] = decoded
            for i, reason in zip(where, reasons, strict=True):
                errors[i] = reason
        return samples, errors


def _place_values(target: NDArray[np.generic], values: NDArray[np.generic]) -> str:
    """Copy the values of a sample in the model's shape or flat; return the problem, "" for none."""
    if values.dtype == object or values.size != target.size or (values.ndim > 1 and values.shape != target.shape):
        return f"has {values.dtype} {list(values.shape)}; expected {target.dtype} {list(target.shape)}"
    if target.dtype == np.uint8 and values.dtype != np.uint8:
        if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
            return f"has {values.dtype}; expected uint8, 0 to 255"
    elif target.dtype != np.uint8:
        with np.errstate(over="ignore"):
            if values.dtype.kind not in "iuf" or not np.isfinite(values.astype(np.float32)).all():
                return "has values that are not finite numbers"
    target[...] = values.reshape(target.shape)
    return ""


def _encoding(file: bytes) -> tensor_pb2.Encoding.ValueType | None:
    """Return the encoding of a picture file by its first bytes."""
    if file.startswith(b"\x89PNG"):
        return tensor_pb2.ENCODING_PNG
    if file.startswith(b"\xff\xd8"):
        return tensor_pb2.ENCODING_JPEG
    return tensor_pb2.ENCODING_WEBP if file[:4] == b"RIFF" and file[8:12] == b"WEBP" else None


def _schema(model: Model, description: dict[str, Any]) -> Any:
    require("pyarrow", "--out: writes Parquet, which")
    import pyarrow as pa

    info = model.info
    kinds: dict[str, Any] = {"name": pa.string()}
    if info.critic_takes_labels:
        kinds["label"] = pa.int64()
    kinds |= {"score": pa.float32(), "probability": pa.float32()}
    if info.atypical_until is not None:
        kinds |= {"typicality": pa.float32(), "out_of_distribution": pa.bool_()}
    kinds["error"] = pa.string()
    metadata = {"huggingface": hugging_face(kinds, info.label_names), "ganserve": json.dumps(description)}
    return pa.schema(list(kinds.items()), metadata)
