"""Describe a job of `ganserve generate`, and cut it into shards. N = samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.bulk.run import Shard
from ganserve_server.error_text import listed
from ganserve_server.errors import InvalidRequestError, JobError, RequestError
from ganserve_server.models.manifest_checks import ModelInfo
from ganserve_server.models.model import Model
from ganserve_server.requests.limits import Limits
from ganserve_server.requests.sample_plan import SamplePlan, plan_stream

ENDINGS = {"parquet": ".parquet", "webdataset": ".tar", "png": ""}
"""Ending of a shard in each format; "" for a folder."""
ENCODINGS = {
    "raw": tensor_pb2.ENCODING_RAW,
    "png": tensor_pb2.ENCODING_PNG,
    "jpeg": tensor_pb2.ENCODING_JPEG,
    "webp": tensor_pb2.ENCODING_WEBP,
}
_SHARD_BYTES, _MOST_IN_SHARD, _MOST_FILES = 64 * 2**20, 50_000, 10_000
_PART_BYTES, _MOST_IN_PART = 4 * 2**20, 1024
_SHOWN_LABELS = 1000  # more are described by their digest
_FLAGS = {
    "label_names": "--label",
    "label_indices": "--label",
    "selection.max_proposals_per_sample": "--select",
    "encoding": "--encoding",
    "controls": "--control",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleJob:
    """Samples to generate. With the model, these fields determine every sample."""

    count: int
    seed: int
    offset: int = 0
    labels: NDArray[np.int64] | None = None
    """Labels that the samples take in turns, int64 [K]; None: drawn for each, or the model is unconditional."""
    truncation: float | None = None
    controls: tuple[tuple[str, float], ...] = ()
    select: tuple[str, int] | None = None
    """best-of or rejection, and the most proposals for a sample."""
    scores: bool = False
    latents: bool = False
    form: str = "parquet"
    """A key of ENDINGS."""
    encoding: str = "raw"
    """A key of ENCODINGS; vectors are raw."""
    mark: bool = True
    """Say in each picture that it is generated, and what it takes to draw it again."""
    shard_size: int
    """Samples of every shard but the last."""

    def description(self, info: ModelInfo) -> dict[str, Any]:
        """Return the job as JSON has it."""
        labels: object = None
        if self.labels is not None:
            names = [info.label_names[index] for index in self.labels[:_SHOWN_LABELS].tolist()]
            digest = hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()
            labels = names if len(self.labels) <= _SHOWN_LABELS else f"{len(self.labels)}, sha256 {digest}"
        return {
            "count": self.count,
            "seed": self.seed,
            "offset": self.offset,
            "labels": labels,
            "truncation": self.truncation,
            "controls": dict(self.controls),
            "select": None if self.select is None else f"{self.select[0]}:{self.select[1]}",
            "scores": self.scores,
            "latents": self.latents,
            "format": self.form,
            "encoding": self.encoding,
            "mark": self.mark,
            "shard_size": self.shard_size,
        }

    def shards(self) -> list[Shard]:
        """Return all shards; the content of each is the range of its samples, counted from 0."""
        total = -(-self.count // self.shard_size)
        ending = ENDINGS[self.form]
        return [
            Shard(
                f"samples-{number:05d}-of-{total:05d}{ending}",
                min(self.shard_size, self.count - number * self.shard_size),
                range(number * self.shard_size, min((number + 1) * self.shard_size, self.count)),
                folder=not ending,
            )
            for number in range(total)
        ]

    def labels_of(self, part: range) -> NDArray[np.int64] | None:
        """Return the labels of samples, int64 [N]."""
        return None if self.labels is None else self.labels[np.arange(part.start, part.stop) % len(self.labels)]

    def plan(self, model: Model) -> SamplePlan:
        """Return the plan of all samples; raise JobError, which names the flag that is wrong."""
        request = gan_service_pb2.SampleRequest(
            count=self.count,
            seed=self.seed,
            offset=self.offset,
            truncation=self.truncation,
            encoding=ENCODINGS[self.encoding],
            return_scores=self.scores,
            return_latents=self.latents,
            controls=dict(self.controls),
            unmarked=not self.mark,
        )
        if self.select is not None:
            best = self.select[0] == "best-of"
            methods = gan_service_pb2.SELECTION_METHOD_BEST_OF_N, gan_service_pb2.SELECTION_METHOD_REJECTION
            request.selection.method = methods[0] if best else methods[1]
            request.selection.max_proposals_per_sample = self.select[1]
        try:
            return plan_stream(model, gan_service_pb2.StreamSamplesRequest(request=request), Limits())[0]
        except InvalidRequestError as error:
            raise JobError("; ".join(_in_flags(one.field, one.description) for one in error.violations)) from error
        except RequestError as error:
            raise JobError(str(error)) from error


def _in_flags(field: str, description: str) -> str:
    name = field.removeprefix("request.")
    flag = _FLAGS.get(name) or _FLAGS.get(name.partition(".")[0]) or f"--{name.partition('.')[0]}"
    return f"{flag}: {description}"


def default_shard_size(info: ModelInfo, form: str) -> int:
    """Return the samples of a shard of 64 MiB without compression; it depends on nothing but the model and format."""
    most = _MOST_FILES if form == "png" else _MOST_IN_SHARD
    size = max(1, min(most, _SHARD_BYTES // info.sample_bytes))
    return size if size < 1000 else size // 1000 * 1000


def parts_of(shard: range, info: ModelInfo) -> list[range]:
    """Cut a shard into parts. They become Parquet's row groups, so they must not depend on the machine or its load."""
    size = max(1, min(_MOST_IN_PART, _PART_BYTES // info.sample_bytes))
    return [range(start, min(start + size, shard.stop)) for start in range(shard.start, shard.stop, size)]


def label_numbers(info: ModelInfo, texts: Sequence[str], file: str = "") -> NDArray[np.int64]:
    """Return the indices of labels, given by name or index: those of --label, or the lines of `file`, --labels FILE."""
    if not info.label_names:
        where = file or f"--label {texts[0] or repr(texts[0])}"
        raise JobError(f"{where}: model {info.name!r} is unconditional and takes no labels. Leave it out.")
    known = info.label_indices | {
        str(index): index for index, _ in enumerate(info.label_names) if str(index) not in info.label_indices
    }
    for place, text in enumerate(texts):
        if text not in known:
            where = f"{file}: line {place + 1} is {text!r}," if file else f"--label {text or repr(text)}:"
            names = listed(info.label_names)
            raise JobError(f"{where} not a label of model {info.name!r}, which has {names}. Name one of these.")
    return np.array([known[text] for text in texts], np.int64)
