"""The service, without a transport: takes and gives the messages of `ganserve.v1.GanService`, raises `core.errors`.

N = samples.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import numpy as np

from ganserve.v1 import gan_service_pb2
from ganserve_server.draw.decoding import decoded_images
from ganserve_server.draw.drawing import Terms, draw, score
from ganserve_server.draw.encoding import FORMATS, as_uint8, encoded_files
from ganserve_server.draw.selection import Selector
from ganserve_server.errors import FieldViolation, InvalidRequestError, QueueFullError, RequestError
from ganserve_server.queue.byte_budget import Room
from ganserve_server.queue.lanes import Priority
from ganserve_server.queue.ordered_stream import ReadAhead, in_order
from ganserve_server.queue.picture_threads import Workers
from ganserve_server.requests.responses import set_sample_response, set_scores
from ganserve_server.requests.validation import priority_of
from ganserve_server.requests.work import Limits, plan_sample, plan_score, plan_stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
    from typing import Any

    from numpy.typing import NDArray

    from ganserve_server.models.model import GeneratorWork, Model
    from ganserve_server.models.repository import Repository
    from ganserve_server.requests.work import SamplePlan, ScorePlan

# Larger answers are put together on another thread, so that the event loop lives on.
_OFF_LOOP_BYTES = 2**20


class Gan:
    """Samples from and scores with the models of a repository.

    Deadlines are values of `time.monotonic()`; work that was not started by then is dropped.
    """

    def __init__(self, repository: Repository, limits: Limits | None = None) -> None:
        self.repository = repository
        self.limits = limits or Limits()
        self._selector = Selector()
        self._workers = Workers()
        # A few small files can become much: decoded images of all requests share this, but wait for no lower priority.
        self._rooms = {priority: Room(self.limits.max_decoded_bytes) for priority in Priority}

    async def sample(
        self, request: gan_service_pb2.SampleRequest, *, deadline: float | None = None
    ) -> gan_service_pb2.SampleResponse:
        """Draws samples.

        Raises:
            RequestError: Why it cannot.
        """
        with self.repository.lease(request.model, request.version) as model:
            # Also before the plan: in overload, what a refusal costs is taken from the answers.
            if not request.HasField("selection"):  # which waits for its proposals, some of them at a time
                model.generator.check_room(request.count, priority=priority_of(request.priority))
            plan = plan_sample(model, request, self.limits)
            terms = Terms(deadline=deadline, priority=plan.priority)
            response = gan_service_pb2.SampleResponse()
            await self._answer(model, plan, plan.work, plan.count, terms, response)
            return response

    async def stream_samples(
        self, request: gan_service_pb2.StreamSamplesRequest, *, deadline: float | None = None
    ) -> AsyncIterator[gan_service_pb2.StreamSamplesResponse]:
        """Draws samples in chunks; computes one chunk ahead of the one that is being consumed, and no further.

        Raises:
            RequestError: Why it cannot, or cannot go on.
        """
        if not request.HasField("request"):
            raise InvalidRequestError([FieldViolation("request", "is missing; expected what to draw")])
        named = request.request.model, request.request.version
        with self.repository.lease(*named, field="request.model") as model:
            stream = plan_stream(model, request, self.limits)
            plan = stream.plan

            async def answer(start: int) -> gan_service_pb2.StreamSamplesResponse:
                count = min(stream.chunk_size, plan.count - start)
                response = gan_service_pb2.StreamSamplesResponse()
                work = plan.work.from_sample(start, count)
                # A stream slows down in a full queue; only its first chunk can be turned away.
                terms = Terms(deadline=deadline, priority=plan.priority, bulk=True, always_admit=start > 0)
                await self._answer(model, plan, work, count, terms, response.chunk)
                return response

            def begin(start: int) -> asyncio.Task[gan_service_pb2.StreamSamplesResponse]:
                task = asyncio.create_task(answer(start))
                # A stream that ends early leaves its last task alone: nobody else looks at the error.
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
                return task

            ahead = begin(0)
            try:
                for start in range(stream.chunk_size, plan.count, stream.chunk_size):
                    response = await ahead
                    ahead = begin(start)
                    yield response
                yield await ahead
            finally:
                ahead.cancel()

    async def score(
        self, request: gan_service_pb2.ScoreRequest, *, deadline: float | None = None
    ) -> gan_service_pb2.ScoreResponse:
        """Scores samples.

        Raises:
            RequestError: Why it cannot.
        """
        return await self._score(request, Terms(deadline=deadline))

    async def stream_scores(
        self,
        requests: AsyncIterator[gan_service_pb2.StreamScoresRequest],
        *,
        deadline: float | None = None,
        ahead: ReadAhead | None = None,
    ) -> AsyncGenerator[gan_service_pb2.StreamScoresResponse, None]:
        """Scores samples, one response a request, in order; each may be for another model.

        Args:
            requests: The requests.
            deadline: Of all of them.
            ahead: How far to read and work beyond the request whose response is due.

        Raises:
            RequestError: Why it cannot go on; the message names the request.
        """
        count = 0

        async def begin(
            request: gan_service_pb2.StreamScoresRequest,
        ) -> tuple[Coroutine[Any, Any, gan_service_pb2.StreamScoresResponse], int]:
            nonlocal count
            index, count = count, count + 1
            return self._stream_score(request, index, deadline), request.ByteSize() + self._decoded_bytes(request)

        async with contextlib.aclosing(in_order(requests, begin, ahead or ReadAhead())) as responses:
            async for response in responses:
                yield response

    def list_models(self) -> gan_service_pb2.ListModelsResponse:
        """List the models and the state of each version."""
        return gan_service_pb2.ListModelsResponse(models=self.repository.summaries())

    def get_model(self, request: gan_service_pb2.GetModelRequest) -> gan_service_pb2.GetModelResponse:
        """Describe one version of a model.

        Raises:
            RequestError: Why it cannot.
        """
        model = self.repository.resolve(request.model, request.version)
        return gan_service_pb2.GetModelResponse(spec=model.spec, engines=model.engine_infos())

    async def _answer(
        self,
        model: Model,
        plan: SamplePlan,
        work: GeneratorWork,
        count: int,
        terms: Terms,
        response: gan_service_pb2.SampleResponse,
    ) -> None:
        """Draws the samples of a work, which is a plan's or a part of it, and sets the response."""
        if plan.selection is None:
            drawn = await draw(model, work, count, terms, scored=plan.return_scores)
        else:
            drawn = await self._selector.draw(model, work, count, plan.selection, terms, latents=plan.return_latents)
        files = None
        if plan.encoding in FORMATS:
            files = await encoded_files(self._workers, drawn.samples, plan.encoding)
        if count * plan.bytes_per_sample < _OFF_LOOP_BYTES:
            set_sample_response(response, model.info, plan, work, drawn, files)
        else:
            await asyncio.to_thread(set_sample_response, response, model.info, plan, work, drawn, files)

    async def _score(self, request: gan_service_pb2.ScoreRequest, terms: Terms) -> gan_service_pb2.ScoreResponse:
        with self.repository.lease(request.model, request.version) as model:
            plan = plan_score(model, request, self.limits)
            terms = terms.with_priority(plan.priority)
            async with self._rooms[plan.priority].taken(plan.decoded_bytes):
                scores = await score(model, await self._samples(model, plan), plan.labels, terms)
        response = gan_service_pb2.ScoreResponse(model=model.info.name, version=model.info.version)
        set_scores(response, *scores)
        return response

    async def _samples(self, model: Model, plan: ScorePlan) -> NDArray[np.generic]:
        """Return the samples [N, ...] of a plan in the model's type."""
        info = model.info
        if plan.files:
            field = "samples.images.files"
            return await decoded_images(self._workers, plan.files, plan.encoding, info.sample_shape, field)
        assert plan.samples is not None, "a plan has samples or files"
        if plan.samples.dtype == info.sample_dtype:
            return plan.samples
        values = plan.samples.astype(np.float32, copy=False)
        if values.nbytes < _OFF_LOOP_BYTES:
            return as_uint8(values)
        return await asyncio.to_thread(as_uint8, values)

    async def _stream_score(
        self, request: gan_service_pb2.StreamScoresRequest, index: int, deadline: float | None
    ) -> gan_service_pb2.StreamScoresResponse:
        """Scores one request of a stream."""
        try:
            if not request.HasField("request"):
                raise InvalidRequestError([FieldViolation("", "is missing; expected what to score")])
            # As with samples: a stream slows down in a full queue, and only its first request can be turned away.
            terms = Terms(deadline=deadline, bulk=True, always_admit=index > 0)
            response = await self._score(request.request, terms)
        except RequestError as error:
            raise _in_stream(error, index) from error
        return gan_service_pb2.StreamScoresResponse(response=response)

    def _decoded_bytes(self, request: gan_service_pb2.StreamScoresRequest) -> int:
        """Return how much the image files of a request become."""
        files = len(request.request.samples.images.files)
        if not files:
            return 0
        try:
            model = self.repository.resolve(request.request.model, request.request.version)
        except RequestError:
            return 0  # its turn to be told so comes later
        return files * model.info.sample_bytes


def _in_stream(error: RequestError, index: int) -> RequestError:
    """Return an error that tells which request of a stream it is about."""
    where = f"request {index} of the stream, counting from 0"
    if isinstance(error, InvalidRequestError):
        return InvalidRequestError(
            [
                FieldViolation(
                    ".".join(filter(None, ["request", violation.field])), f"({where}) {violation.description}"
                )
                for violation in error.violations
            ]
        )
    message = f"{where}: {error}"
    if isinstance(error, QueueFullError):
        return QueueFullError(message, retry_after_s=error.retry_after_s)
    return type(error)(message)
