"""The service, without a transport: takes and gives the messages of `ganserve.v1.GanService`, raises `core.errors`.

N = samples, Z = values of one latent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from ganserve.v1 import gan_service_pb2, tensor_pb2
from ganserve_server.core.errors import FieldViolation, InvalidRequestError
from ganserve_server.core.model import CriticWork
from ganserve_server.core.requests import Limits, plan_sample, plan_score, plan_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from numpy.typing import NDArray

    from ganserve_server.core.lanes import Arrays
    from ganserve_server.core.model import GeneratorWork, Model
    from ganserve_server.core.package import ModelInfo
    from ganserve_server.core.repository import Repository
    from ganserve_server.core.requests import SamplePlan

# Larger answers are put together on another thread, so that the event loop lives on.
_OFF_LOOP_BYTES = 2**20


class Gan:
    """Samples from and scores with the models of a repository.

    Deadlines are values of `time.monotonic()`; work that was not started by then is dropped.
    """

    def __init__(self, repository: Repository, limits: Limits | None = None) -> None:
        self.repository = repository
        self.limits = limits or Limits()

    async def sample(
        self, request: gan_service_pb2.SampleRequest, *, deadline: float | None = None
    ) -> gan_service_pb2.SampleResponse:
        """Draws samples.

        Raises:
            RequestError: Why it cannot.
        """
        with self.repository.lease(request.model, request.version) as model:
            plan = plan_sample(model, request, self.limits)
            response = gan_service_pb2.SampleResponse()
            await _draw(model, plan, plan.work, plan.count, response, deadline)
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

            async def draw(start: int) -> gan_service_pb2.StreamSamplesResponse:
                count = min(stream.chunk_size, plan.count - start)
                response = gan_service_pb2.StreamSamplesResponse()
                work = plan.work.from_sample(start, count)
                # A stream slows down in a full queue; only its first chunk can be turned away.
                await _draw(model, plan, work, count, response.chunk, deadline, bulk=True, always_admit=start > 0)
                return response

            def begin(start: int) -> asyncio.Task[gan_service_pb2.StreamSamplesResponse]:
                task = asyncio.create_task(draw(start))
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
        with self.repository.lease(request.model, request.version) as model:
            work = plan_score(model, request)
            assert model.critic is not None, "plans for scores are refused without a critic"
            parts = await model.critic.submit(work, len(work.samples), deadline=deadline)
        response = gan_service_pb2.ScoreResponse(model=model.info.name, version=model.info.version)
        _set_scores(response, parts)
        return response

    def list_models(self) -> gan_service_pb2.ListModelsResponse:
        """Lists the models and the state of each version."""
        return gan_service_pb2.ListModelsResponse(models=self.repository.summaries())

    def get_model(self, request: gan_service_pb2.GetModelRequest) -> gan_service_pb2.GetModelResponse:
        """Describes one version of a model.

        Raises:
            RequestError: Why it cannot.
        """
        model = self.repository.resolve(request.model, request.version)
        return gan_service_pb2.GetModelResponse(spec=model.spec, engines=model.engine_infos())


async def _draw(
    model: Model,
    plan: SamplePlan,
    work: GeneratorWork,
    count: int,
    response: gan_service_pb2.SampleResponse,
    deadline: float | None,
    *,
    bulk: bool = False,
    always_admit: bool = False,
) -> None:
    """Draws the samples of a work, which is a plan's or a part of it, and sets the response."""
    parts = await model.generator.submit(work, count, deadline=deadline, bulk=bulk, always_admit=always_admit)
    scores: list[Arrays] = []
    if plan.return_scores:
        assert model.critic is not None, "plans for scores are refused without a critic"
        # A critic that takes no labels scores what a conditional generator drew without them.
        labels = None
        if model.info.critic_takes_labels:
            labels = _joined([part[2] for part in parts]).astype(np.int64, copy=False)
        critic_work = CriticWork(samples=_joined([part[0] for part in parts]), labels=labels)
        scores = await model.critic.submit(critic_work, count, deadline=deadline, bulk=bulk, always_admit=True)
    if count * plan.bytes_per_sample < _OFF_LOOP_BYTES:
        _set_response(response, model.info, plan, work, parts, scores)
    else:
        await asyncio.to_thread(_set_response, response, model.info, plan, work, parts, scores)


def _set_response(
    response: gan_service_pb2.SampleResponse,
    info: ModelInfo,
    plan: SamplePlan,
    work: GeneratorWork,
    parts: list[Arrays],
    scores: list[Arrays],
) -> None:
    response.model, response.version = info.name, info.version
    response.seed, response.offset = work.seed, work.offset
    samples = [part[0] for part in parts]
    _set_tensor(response.samples.tensor, info.sample_data_type, info.sample_shape, samples)
    if plan.return_latents:
        latents = [part[1] for part in parts]
        _set_tensor(response.latents, tensor_pb2.DATA_TYPE_FLOAT32, (info.latent_dimension,), latents)
    if info.label_names:
        _set_labels(response, info, work.labels, parts)
    _set_scores(response, scores)


def _set_tensor(
    tensor: tensor_pb2.Tensor,
    data_type: tensor_pb2.DataType.ValueType,
    sample_shape: tuple[int, ...],
    parts: list[NDArray[np.generic]],
) -> None:
    tensor.data_type = data_type
    tensor.shape.extend((sum(map(len, parts)), *sample_shape))
    tensor.data = b"".join(part.data for part in parts)


def _set_scores(response: gan_service_pb2.SampleResponse | gan_service_pb2.ScoreResponse, parts: list[Arrays]) -> None:
    for scores, probabilities in parts:
        response.scores.extend(scores.tolist())
        response.probabilities.extend(probabilities.tolist())


def _set_labels(
    response: gan_service_pb2.SampleResponse,
    info: ModelInfo,
    labels: int | NDArray[np.int64] | None,
    parts: list[Arrays],
) -> None:
    if isinstance(labels, int):
        count = sum(len(part[0]) for part in parts)
        response.label_indices.extend([labels] * count)
        response.label_names.extend([info.label_names[labels]] * count)
        return
    for part in parts:
        indices = part[2].tolist()
        response.label_indices.extend(indices)
        response.label_names.extend([info.label_names[index] for index in indices])


def _joined(parts: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
