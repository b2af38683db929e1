"""One replica of the application: `ganserve.v1.GanService`, health and HTTP for Ray Serve's proxies.

Ray's proxy passes a copy of a call's context, which travels back with each answer. So a refusal is an empty answer with
a status, also in a stream. (A raised error would lose its details, and in a stream, with Ray 2.60, its status, too.)
"""
# ruff: noqa: N802 - the protocol defines the names

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc

from ganserve.v1 import gan_service_pb2
from ganserve_server.api.grpc.error_status import client_status
from ganserve_server.monitoring.call_tracking import REQUEST_ID_KEY
from ganserve_server.queue.memory_budget import Account
from ganserve_server.ray import http_calls
from ganserve_server.requests.limits import Limits
from ganserve_server.service import GanService
from ganserve_server.settings import ServerConfig
from ganserve_server.startup import load

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from google.protobuf.message import Message
    from ray.serve.grpc_util import RayServegRPCContext
    from starlette.requests import Request
    from starlette.responses import Response

_MessageT = TypeVar("_MessageT")
_log = logging.getLogger(__name__)


class _Serialised:
    """An answer that is serialised already; the proxy asks it for its bytes as it would ask a message."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def SerializeToString(self) -> bytes:
        return self._content


class Replica:
    """Loads the models and answers calls."""

    def __init__(self, config: ServerConfig) -> None:
        """Load the models; takes seconds. Raises StartupError if there is nothing to serve."""
        self._repository, report = load(config)
        for line in report.splitlines():
            _log.info("%s", line)
        self._gan = GanService(self._repository, Limits.of(config))
        if config.poll_s:
            self._repository.watch(config.poll_s)

    async def Sample(
        self, request: gan_service_pb2.SampleRequest, grpc_context: RayServegRPCContext
    ) -> gan_service_pb2.SampleResponse | _Serialised:
        """Draw samples and return them in one message."""
        answer = self._gan.sample_answer(request, account=_account(request))
        return await _answered("Sample", answer, grpc_context, gan_service_pb2.SampleResponse())

    async def Score(
        self, request: gan_service_pb2.ScoreRequest, grpc_context: RayServegRPCContext
    ) -> gan_service_pb2.ScoreResponse | _Serialised:
        """Score samples with a model's critic."""
        answer = self._gan.score_answer(request, account=_account(request))
        return await _answered("Score", answer, grpc_context, gan_service_pb2.ScoreResponse())

    async def ListModels(
        self, _request: gan_service_pb2.ListModelsRequest, grpc_context: RayServegRPCContext
    ) -> gan_service_pb2.ListModelsResponse | _Serialised:
        """List the models of the repository."""
        answer = asyncio.to_thread(self._gan.list_models)
        return await _answered("ListModels", answer, grpc_context, gan_service_pb2.ListModelsResponse())

    async def GetModel(
        self, request: gan_service_pb2.GetModelRequest, grpc_context: RayServegRPCContext
    ) -> gan_service_pb2.GetModelResponse | _Serialised:
        """Describe one version of a model."""
        answer = asyncio.to_thread(self._gan.get_model, request)
        return await _answered("GetModel", answer, grpc_context, gan_service_pb2.GetModelResponse())

    async def StreamSamples(
        self, request: gan_service_pb2.StreamSamplesRequest, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[gan_service_pb2.StreamSamplesResponse | _Serialised]:
        """Draw any number of samples and return them in chunks."""
        try:
            async for answer in self._gan.stream_answers(request, account=_account(request)):
                yield _Serialised(answer) if isinstance(answer, bytes) else answer
        except Exception as error:  # noqa: BLE001 - as in `_answered`
            _set_status("StreamSamples", error, grpc_context)
            yield gan_service_pb2.StreamSamplesResponse()

    async def StreamScores(
        self, requests: AsyncIterator[gan_service_pb2.StreamScoresRequest], grpc_context: RayServegRPCContext
    ) -> AsyncIterator[gan_service_pb2.StreamScoresResponse]:
        """Score any number of samples, with one response for each request."""
        try:
            async with contextlib.aclosing(self._gan.stream_scores(requests)) as answers:
                async for answer in answers:
                    yield answer
        except Exception as error:  # noqa: BLE001 - as in `_answered`
            _set_status("StreamScores", error, grpc_context)
            yield gan_service_pb2.StreamScoresResponse()

    async def Check(self, _request: Any, grpc_context: RayServegRPCContext) -> Any:  # noqa: ARG002
        """Answer grpc.health.v1: always serving, because Ray replaces replicas that cannot serve."""
        from grpc_health.v1 import health_pb2

        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def Watch(self, _request: Any, grpc_context: RayServegRPCContext) -> AsyncIterator[Any]:
        """Refuse as UNIMPLEMENTED, which clients take for healthy; a watch would count as a running call for ever."""
        from grpc_health.v1 import health_pb2

        grpc_context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        grpc_context.set_details("Watch: not supported behind Ray's proxy. Call Check.")
        yield health_pb2.HealthCheckResponse()

    async def __call__(self, request: Request) -> Response:
        """Answer HTTP: `http_calls` says how."""
        return await http_calls.answer(self._gan, request)

    def check_health(self) -> None:
        """Raise an error if no model is ready; Ray then replaces the replica."""
        if not self._repository.models():
            raise RuntimeError("no model is ready")


def _account(request: Message) -> Account:
    """Return a call's account, with its size, by which long requests are checked outside the event loop."""
    account = Account()
    account.request_bytes = request.ByteSize()
    return account


async def _answered(
    method: str, answer: Awaitable[_MessageT | bytes], context: RayServegRPCContext, empty: _MessageT
) -> _MessageT | _Serialised:
    """Return the answer; of a failed call the status goes into the context, beside an empty answer."""
    try:
        message = await answer
    except Exception as error:  # noqa: BLE001 - the client gets a status, the log what is not its fault
        _set_status(method, error, context)
        return empty
    return _Serialised(message) if isinstance(message, bytes) else message


def _set_status(method: str, error: Exception, context: RayServegRPCContext) -> None:
    sent = dict(context.invocation_metadata()).get(REQUEST_ID_KEY)
    code, message, metadata = client_status(error, method, str(sent or os.urandom(8).hex()))
    context.set_code(code)
    context.set_details(message)
    context.set_trailing_metadata(cast("Any", list(metadata)))  # one of them is binary
