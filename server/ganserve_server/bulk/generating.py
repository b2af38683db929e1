"""Draw the samples of shards and write them. N = samples, Z = values of one latent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve._marks.files import png_with_xmp
from ganserve.v1 import tensor_pb2
from ganserve_server.bulk.libraries import require
from ganserve_server.bulk.run import Shard, own_thread, side_by_side
from ganserve_server.bulk.sample_job import SampleJob, parts_of
from ganserve_server.bulk.writers import WRITERS, Part, ShardFacts
from ganserve_server.errors import BulkError, RequestError
from ganserve_server.models.model import GeneratorWork, Model
from ganserve_server.pictures.encoding import encoded_files
from ganserve_server.pictures.formats import FORMATS
from ganserve_server.pictures.png_files import png_files
from ganserve_server.pictures.threads import PictureThreads
from ganserve_server.queue.options import QueueOptions
from ganserve_server.sampling.drawing import Drawn, draw, joined
from ganserve_server.sampling.selection import Selector

# Never refused: the number of parts in work is bounded.
_OPTIONS = QueueOptions(bulk=True, always_admit=True)


class Generator:
    """Makes the shards of a `SampleJob`; a `run.Worker`."""

    def __init__(self, model: Model, job: SampleJob, description: dict[str, Any]) -> None:
        """Check the job against the model, and raise BulkError if they do not fit."""
        if job.form == "parquet":
            require("pyarrow", "--format parquet:")
        self._model, self._job = model, job
        self._plan = job.plan(model)
        if self._plan.encoding == tensor_pb2.ENCODING_PNG:
            require("deflate", "--encoding png:")
        self._facts = ShardFacts(info=model.info, job=job, description=description)
        self._selector = Selector()
        self._threads = PictureThreads()

    async def fill(self, shard: Shard, path: Path, tell: Callable[[int], None]) -> None:
        """Write a shard, and tell how many further samples are done."""
        info = self._model.info
        with own_thread() as run:
            writer = await run(WRITERS[self._job.form], path, self._facts)
            try:
                parts = side_by_side(
                    parts_of(shard.content, info), self._part, lambda part: len(part) * 2 * info.sample_bytes
                )
                async with contextlib.aclosing(parts):
                    async for part in parts:
                        await run(writer.add, part)
                        tell(len(part))
            finally:
                await run(writer.close)

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    async def _part(self, rows: range) -> Part:
        job = self._job
        work = replace(self._plan.work, offset=job.offset + rows.start, labels=job.labels_of(rows))
        try:
            drawn = await self._draw(work, len(rows))
        except RequestError as error:
            raise BulkError(f"samples {work.offset} to {work.offset + len(rows) - 1}: {error}") from error
        samples = joined(drawn.samples)
        labels = joined(drawn.labels) if drawn.labels else None
        return Part(
            first=work.offset,
            samples=samples,
            files=await self._files(work.offset, samples, labels),
            labels=labels,
            latents=joined(drawn.latents) if job.latents else None,
            scores=drawn.scores if job.scores else None,
            probabilities=drawn.probabilities if job.scores else None,
        )

    async def _files(self, first: int, samples: NDArray[Any], labels: NDArray[np.int64] | None) -> list[bytes] | None:
        """Return pictures [N, H, W, C] as files, marked unless the job says otherwise; None: its samples stay raw."""
        encoding, marks = self._plan.encoding, self._plan.marks
        if encoding not in FORMATS:
            return None

        def xmp(place: int) -> bytes:
            assert marks is not None, "asked for only if there are marks"
            return marks.xmp(first + place, None if labels is None else int(labels[place]))

        def pngs(rows: slice) -> list[bytes]:
            files = png_files(samples[rows])
            if marks is None:
                return files
            return [png_with_xmp(file, xmp(place)) for place, file in enumerate(files, rows.start)]

        if encoding == tensor_pb2.ENCODING_PNG:
            return await self._threads.map(pngs, len(samples), samples[0].nbytes)
        return await encoded_files(self._threads, [samples], encoding, None if marks is None else xmp)

    async def _draw(self, work: GeneratorWork, count: int) -> Drawn:
        selection = self._plan.selection
        if selection is None:
            return await draw(self._model, work, count, _OPTIONS, scored=self._job.scores)
        return await self._selector.draw(self._model, work, count, selection, _OPTIONS, latents=self._job.latents)
