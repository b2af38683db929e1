"""Serve `ganserve.v1.GanService` by passing messages to `service`.

A unary method is a coroutine; a method that streams responses is an async generator. `call_handling` turns their
errors into statuses. Large answers are serialised already.
"""
# ruff: noqa: ARG002, N802 - the protocol defines names and arguments

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.monitoring.call_tracking import current_call
from ganserve_server.queue.memory_budget import Account
from ganserve_server.service import GanService

Context = grpc.aio.ServicerContext[Any, Any]


class GanServicer(gan_service_pb2_grpc.GanServiceServicer):
    """`ganserve.v1.GanService`."""

    def __init__(self, gan: GanService) -> None:
        self._gan = gan

    async def Sample(self, request: gan_service_pb2.SampleRequest, context: Context) -> Any:
        """Draw samples and return them in one message."""
        return await self._gan.sample_answer(request, deadline=call_deadline(context), account=call_account())

    async def StreamSamples(
        self, request: gan_service_pb2.StreamSamplesRequest, context: Context
    ) -> AsyncIterator[Any]:
        """Draw any number of samples and return them in chunks."""
        deadline = call_deadline(context)
        async for response in self._gan.stream_answers(request, deadline=deadline, account=call_account()):
            yield response

    async def Score(self, request: gan_service_pb2.ScoreRequest, context: Context) -> Any:
        """Score samples with a model's critic."""
        return await self._gan.score_answer(request, deadline=call_deadline(context), account=call_account())

    async def StreamScores(
        self, requests: AsyncIterator[gan_service_pb2.StreamScoresRequest], context: Context
    ) -> AsyncIterator[gan_service_pb2.StreamScoresResponse]:
        """Score any number of samples, with one response for each request."""
        responses = self._gan.stream_scores(requests, deadline=call_deadline(context), account=call_account())
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


def call_account() -> Account:
    """Return the account of the running call."""
    call = current_call.get()
    return Account() if call is None else call.account


def call_deadline(context: Context) -> float | None:
    """Return a call's deadline as a value of `time.monotonic()`; None if it has none."""
    remaining_s: float | None = context.time_remaining()
    return None if remaining_s is None else time.monotonic() + remaining_s
