"""The gRPC services: thin adapters that pass messages on to `core.gan`.

A unary method is a coroutine, a method that streams its responses is an async generator; both raise `core.errors`,
which `methods.Methods` maps.
"""
# ruff: noqa: ARG002, N802 - the methods' names and arguments are the protocol's

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from ganserve.v1 import gan_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from ganserve.v1 import gan_service_pb2
    from ganserve_server.service import Gan

    Context = grpc.aio.ServicerContext[Any, Any]


class GanServicer(gan_service_pb2_grpc.GanServiceServicer):
    """`ganserve.v1.GanService`."""

    def __init__(self, gan: Gan) -> None:
        self._gan = gan

    async def Sample(self, request: gan_service_pb2.SampleRequest, context: Context) -> gan_service_pb2.SampleResponse:
        """Draws samples and returns them in one message."""
        return await self._gan.sample(request, deadline=_deadline(context))

    async def StreamSamples(
        self, request: gan_service_pb2.StreamSamplesRequest, context: Context
    ) -> AsyncIterator[gan_service_pb2.StreamSamplesResponse]:
        """Draws any number of samples and returns them in chunks."""
        async for response in self._gan.stream_samples(request, deadline=_deadline(context)):
            yield response

    async def Score(self, request: gan_service_pb2.ScoreRequest, context: Context) -> gan_service_pb2.ScoreResponse:
        """Scores samples with a model's critic."""
        return await self._gan.score(request, deadline=_deadline(context))

    async def StreamScores(
        self, requests: AsyncIterator[gan_service_pb2.StreamScoresRequest], context: Context
    ) -> AsyncIterator[gan_service_pb2.StreamScoresResponse]:
        """Scores any number of samples, one response a request."""
        responses = self._gan.stream_scores(requests, deadline=_deadline(context))
        async with contextlib.aclosing(responses):
            async for response in responses:
                yield response

    async def ListModels(
        self, request: gan_service_pb2.ListModelsRequest, context: Context
    ) -> gan_service_pb2.ListModelsResponse:
        """List the models of the repository."""
        return self._gan.list_models()

    async def GetModel(
        self, request: gan_service_pb2.GetModelRequest, context: Context
    ) -> gan_service_pb2.GetModelResponse:
        """Describe one version of a model."""
        return self._gan.get_model(request)


def _deadline(context: Context) -> float | None:
    remaining_s: float | None = context.time_remaining()
    return None if remaining_s is None else time.monotonic() + remaining_s
