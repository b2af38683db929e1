"""Answer the requests of `ganserve.v1.GanService`, without a transport: messages in, messages or `errors` out.

N = samples.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganserve.v1 import gan_service_pb2
from ganserve_server.errors import FieldViolation, InvalidRequestError, QueueFullError, RequestError, invalid_field
from ganserve_server.identity.quotas import charge_more, within_quota
from ganserve_server.models.model import GeneratorWork, Model
from ganserve_server.models.repository import Repository
from ganserve_server.pictures.decoding import decoded_images
from ganserve_server.pictures.encoding import as_uint8, encoded_files
from ganserve_server.pictures.formats import FORMATS
from ganserve_server.pictures.marks import Marking
from ganserve_server.pictures.threads import PictureThreads
from ganserve_server.queue.byte_budget import ByteBudget
from ganserve_server.queue.lanes import Priority
from ganserve_server.queue.memory_budget import Account
from ganserve_server.queue.options import QueueOptions
from ganserve_server.queue.ordered_stream import ReadAhead, in_order
from ganserve_server.requests.field_checks import priority_of
from ganserve_server.requests.limits import Limits
from ganserve_server.requests.planning import is_quick
from ganserve_server.requests.responses import (
    serialised_answer,
    serialised_scores,
    set_sample_response,
    set_scores,
    set_typicality,
)
from ganserve_server.requests.sample_plan import SamplePlan, plan_sample, plan_stream
from ganserve_server.requests.score_plan import ScorePlan, plan_score
from ganserve_server.sampling.drawing import Drawn, draw, score
from ganserve_server.sampling.selection import Selector
from ganserve_server.tracing.spans import part

# Larger answers are built on another thread to keep the event loop free.
_OFF_LOOP_BYTES, _ON_LOOP_SAMPLES = 2**18, 1024
# An answer is held as samples, as serialised bytes and, until they are sent, by gRPC. A stream works on one chunk
# while it sends another.
_ANSWER_COPIES, _CHUNKS_HELD = 3, 2
_UNLIMITED = Account()


class GanService:
    """Draw and score samples with the models of a repository.

    Deadlines are values of `time.monotonic()`; work that has not started by then is dropped. Methods raise
    `RequestError` if a request is refused or fails.
    """

    def __init__(self, repository: Repository, limits: Limits | None = None, marking: Marking | None = None) -> None:
        self.repository = repository
        self._marking = marking or Marking()
        self.limits = limits or Limits()
        self._selector = Selector()
        self._threads = PictureThreads()
        # Small files can decode to large images, so the requests of one priority share a budget for them.
        self._decoded_budgets = {priority: ByteBudget(self.limits.max_decoded_bytes) for priority in Priority}

    async def sample(
        self, request: gan_service_pb2.SampleRequest, *, deadline: float | None = None, account: Account = _UNLIMITED
    ) -> gan_service_pb2.SampleResponse:
        """Draw samples. `account` holds the memory that this takes."""
        answer = await self.sample_answer(request, deadline=deadline, account=account)
        return gan_service_pb2.SampleResponse.FromString(answer) if isinstance(answer, bytes) else answer

    async def sample_answer(
        self, request: gan_service_pb2.SampleRequest, *, deadline: float | None = None, account: Account = _UNLIMITED
    ) -> gan_service_pb2.SampleResponse | bytes:
        """Draw samples; a large answer is returned serialised."""
        with self.repository.lease(request.model, request.version) as model:
            # Refuse before planning: in overload, refusals must take as little time as possible.
            if not request.HasField("selection"):  # a selection queues its proposals group by group
                priority = priority_of(request.priority)
                model.generator.check_room(request.count, priority=priority, caller=account.caller_key)
            if is_quick(account.request_bytes, request):
                plan = plan_sample(model, request, self.limits, self._marking)
            else:
                plan = await asyncio.to_thread(plan_sample, model, request, self.limits, self._marking)
            account.hold(_ANSWER_COPIES * plan.count * plan.bytes_held_per_sample)
            options = QueueOptions(deadline=deadline, priority=plan.priority, caller=account.caller_key)
            return await self._answer(model, plan, plan.work, plan.count, options, chunk=False)

    async def stream_samples(
        self,
        request: gan_service_pb2.StreamSamplesRequest,
        *,
        deadline: float | None = None,
        account: Account = _UNLIMITED,
    ) -> AsyncIterator[gan_service_pb2.StreamSamplesResponse]:
        """Draw samples in chunks, and compute one chunk ahead of the consumer."""
        async for answer in self.stream_answers(request, deadline=deadline, account=account):
            if isinstance(answer, bytes):
                answer = gan_service_pb2.StreamSamplesResponse.FromString(answer)
            yield answer

    async def stream_answers(
        self,
        request: gan_service_pb2.StreamSamplesRequest,
        *,
        deadline: float | None = None,
        account: Account = _UNLIMITED,
    ) -> AsyncIterator[gan_service_pb2.StreamSamplesResponse | bytes]:
        """Draw samples in chunks as `stream_samples` does; large chunks are returned serialised."""
        if not request.HasField("request"):
            raise invalid_field("request", "is missing; expected a SampleRequest")
        named = request.request.model, request.request.version
        with self.repository.lease(*named, field="request.model") as model:
            if is_quick(account.request_bytes, request.request):
                plan, chunk_size = plan_stream(model, request, self.limits, self._marking)
            else:
                plan, chunk_size = await asyncio.to_thread(plan_stream, model, request, self.limits, self._marking)
            account.hold(_CHUNKS_HELD * _ANSWER_COPIES * min(chunk_size, plan.count) * plan.bytes_held_per_sample)

            async def answer(start: int) -> gan_service_pb2.StreamSamplesResponse | bytes:
                count = min(chunk_size, plan.count - start)
                work = plan.work.from_sample(start, count)
                # Only the first chunk can be refused; later ones wait in a full queue.
                options = QueueOptions(
                    deadline=deadline,
                    priority=plan.priority,
                    bulk=True,
                    always_admit=start > 0,
                    caller=account.caller_key,
                )
                chunk = await self._answer(model, plan, work, count, options, chunk=True)
                return chunk if isinstance(chunk, bytes) else gan_service_pb2.StreamSamplesResponse(chunk=chunk)

            def begin(start: int) -> asyncio.Task[gan_service_pb2.StreamSamplesResponse | bytes]:
                task = asyncio.create_task(answer(start))
                # If the stream ends early, nothing awaits this task: mark its error as seen.
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
                return task

            ahead = begin(0)
            try:
                for start in range(chunk_size, plan.count, chunk_size):
                    response = await ahead
                    ahead = begin(start)
                    yield response
                    del response  # it is written
                yield await ahead
            finally:
                ahead.cancel()

    async def score(
        self, request: gan_service_pb2.ScoreRequest, *, deadline: float | None = None, account: Account = _UNLIMITED
    ) -> gan_service_pb2.ScoreResponse:
        """Score samples."""
        answer = await self.score_answer(request, deadline=deadline, account=account)
        return gan_service_pb2.ScoreResponse.FromString(answer) if isinstance(answer, bytes) else answer

    async def score_answer(
        self, request: gan_service_pb2.ScoreRequest, *, deadline: float | None = None, account: Account = _UNLIMITED
    ) -> gan_service_pb2.ScoreResponse | bytes:
        """Score samples; a large answer is returned serialised."""
        options = QueueOptions(deadline=deadline, caller=account.caller_key)
        return await self._score(request, options, account, account.request_bytes)

    async def stream_scores(
        self,
        requests: AsyncIterator[gan_service_pb2.StreamScoresRequest],
        *,
        deadline: float | None = None,
        account: Account = _UNLIMITED,
        ahead: ReadAhead | None = None,
    ) -> AsyncGenerator[gan_service_pb2.StreamScoresResponse, None]:
        """Score samples, with one response for each request, in order; an error gives the request's index.

        Each request may name another model.
        """
        count = 0
        if ahead is None:
            ahead = ReadAhead(payload_bytes=self.limits.max_read_ahead_bytes)
        account.hold(ahead.payload_bytes)

        async def begin(
            request: gan_service_pb2.StreamScoresRequest,
        ) -> tuple[Coroutine[Any, Any, gan_service_pb2.StreamScoresResponse], int]:
            nonlocal count
            index, count = count, count + 1
            size = account.request_bytes or request.ByteSize()
            return self._stream_score(request, index, deadline, account, size), size + self._decoded_bytes(request)

        async with contextlib.aclosing(in_order(requests, begin, ahead)) as responses:
            async for response in responses:
                yield response

    def list_models(self) -> gan_service_pb2.ListModelsResponse:
        """List the models and the state of each version."""
        return gan_service_pb2.ListModelsResponse(models=self.repository.summaries(), limits=self._message_limits())

    def get_model(self, request: gan_service_pb2.GetModelRequest) -> gan_service_pb2.GetModelResponse:
        """Describe one version of a model."""
        response = self.repository.resolve(request.model, request.version).describe()
        response.limits.CopyFrom(self._message_limits())
        return response

    def _message_limits(self) -> gan_service_pb2.MessageLimits:
        limits = self.limits
        return gan_service_pb2.MessageLimits(
            max_request_bytes=limits.max_request_bytes, max_answer_bytes=limits.max_response_bytes
        )

    async def _answer(
        self,
        model: Model,
        plan: SamplePlan,
        work: GeneratorWork,
        count: int,
        options: QueueOptions,
        *,
        chunk: bool,
    ) -> gan_service_pb2.SampleResponse | bytes:
        """Draw the samples of a plan, or of a part of it; serialise a large answer, or `chunk` of a stream."""
        async with within_quota(count, wait=chunk):
            if plan.selection is None:
                drawn = await draw(model, work, count, options, scored=plan.return_scores)
            else:
                latents = plan.return_latents
                drawn = await self._selector.draw(model, work, count, plan.selection, options, latents=latents)
        charge_more(drawn.proposed - count)
        files = None
        if plan.encoding in FORMATS:
            with part("encode", {"ganserve.encoding": FORMATS[plan.encoding].name, "ganserve.samples": count}):
                files = await self._files(plan, work, drawn, options.caller)
        if count <= _ON_LOOP_SAMPLES and count * plan.bytes_per_sample < _OFF_LOOP_BYTES:
            response = gan_service_pb2.SampleResponse()
            set_sample_response(response, model, plan, work, drawn, files)
            return response
        return await asyncio.to_thread(serialised_answer, model, plan, work, drawn, files, chunk=chunk)

    async def _files(self, plan: SamplePlan, work: GeneratorWork, drawn: Drawn, caller: str) -> list[bytes]:
        """Return the picture files of samples, marked unless the plan says otherwise."""
        marks, threads = plan.marks, self._threads.of(caller)
        if marks is None:
            return await encoded_files(threads, drawn.samples, plan.encoding)
        labels = [label for part in drawn.labels for label in part.tolist()]
        latents = [latent for part in drawn.latents for latent in part] if work.latents is not None else None
        given_w = None if work.style is None else work.style.w

        def xmp(place: int) -> bytes:
            return marks.xmp(
                work.offset + place,
                labels[place] if labels else None,
                None if latents is None else latents[place],
                None if given_w is None else given_w[place],
            )

        return await encoded_files(threads, drawn.samples, plan.encoding, xmp, marks.signed)

    async def _score(
        self, request: gan_service_pb2.ScoreRequest, options: QueueOptions, account: Account, request_bytes: int
    ) -> gan_service_pb2.ScoreResponse | bytes:
        with self.repository.lease(request.model, request.version) as model:
            if is_quick(request_bytes, request):
                plan = plan_score(model, request, self.limits)
            else:
                plan = await asyncio.to_thread(plan_score, model, request, self.limits)
            options = replace(options, priority=plan.priority)
            if not options.bulk:  # streams hold their memory from the start
                account.hold(plan.decoded_bytes)
            async with self._decoded_budgets[plan.priority].reserved(plan.decoded_bytes):
                samples = await self._samples(model, plan, options.caller)
                async with within_quota(len(samples), wait=options.bulk):
                    scored = await score(model, samples, plan.labels, options, ranked=True)
        if len(scored.scores) > _ON_LOOP_SAMPLES:
            return await asyncio.to_thread(serialised_scores, model.info, scored)
        response = gan_service_pb2.ScoreResponse(model=model.info.name, version=model.info.version)
        set_scores(response, scored.scores, scored.probabilities)
        if scored.typicality is not None:
            set_typicality(response, model.info, scored.typicality)
        return response

    async def _samples(self, model: Model, plan: ScorePlan, caller: str) -> NDArray[np.generic]:
        """Return the samples [N, ...] of a plan in the model's type."""
        info = model.info
        if plan.files:
            field, threads = "samples.images.files", self._threads.of(caller)
            with part("decode", {"ganserve.samples": len(plan.files)}):
                return await decoded_images(threads, plan.files, plan.encoding, info.sample_shape, field)
        assert plan.samples is not None, "a plan has samples or files"
        if plan.samples.dtype == info.sample_dtype:
            return plan.samples
        values = plan.samples.astype(np.float32, copy=False)
        if values.nbytes < _OFF_LOOP_BYTES:
            return as_uint8(values)
        return await asyncio.to_thread(as_uint8, values)

    async def _stream_score(
        self,
        request: gan_service_pb2.StreamScoresRequest,
        index: int,
        deadline: float | None,
        account: Account,
        request_bytes: int,
    ) -> gan_service_pb2.StreamScoresResponse:
        try:
            if not request.HasField("request"):
                raise invalid_field("", "is missing; expected a ScoreRequest")
            # Only the first request can be refused; later ones wait in a full queue.
            options = QueueOptions(deadline=deadline, bulk=True, always_admit=index > 0, caller=account.caller_key)
            response = await self._score(request.request, options, account, request_bytes)
        except RequestError as error:
            raise _in_stream(error, index) from error
        if isinstance(response, bytes):
            response = gan_service_pb2.ScoreResponse.FromString(response)
        return gan_service_pb2.StreamScoresResponse(response=response)

    def _decoded_bytes(self, request: gan_service_pb2.StreamScoresRequest) -> int:
        """Return the size of a request's picture files once they are decoded."""
        files = len(request.request.samples.images.files)
        if not files:
            return 0
        try:
            model = self.repository.resolve(request.request.model, request.request.version)
        except RequestError:
            return 0  # `_score` reports the error in its turn
        return files * model.info.sample_bytes


def _in_stream(error: RequestError, index: int) -> RequestError:
    """Return the error with the index of the stream's request that it is about."""
    where = f"request {index} of the stream, counting from 0"
    if isinstance(error, InvalidRequestError):
        return InvalidRequestError(
            [
                FieldViolation(".".join(filter(None, ["request", one.field])), f"({where}) {one.description}")
                for one in error.violations
            ]
        )
    message = f"{where}: {error}"
    if isinstance(error, QueueFullError):
        return QueueFullError(message, retry_after_s=error.retry_after_s)
    return type(error)(message)
