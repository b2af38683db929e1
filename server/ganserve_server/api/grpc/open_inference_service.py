"""Serve the Open Inference Protocol v2 with Triton's extensions, as `tritonclient.grpc` calls it.

The methods have the form of those in `gan_service`.
"""
# ruff: noqa: ARG002, N802 - the protocol defines names and arguments

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from tritonclient.grpc import service_pb2, service_pb2_grpc

from ganserve_server.api.grpc.error_status import status_code, status_message
from ganserve_server.api.grpc.gan_service import Context, call_account, call_deadline
from ganserve_server.api.grpc.message_reading import SMALL_BYTES
from ganserve_server.api.grpc.open_inference_descriptions import (
    model_config,
    model_metadata,
    model_statistics,
    repository_index,
    server_metadata,
)
from ganserve_server.api.grpc.open_inference_tensors import (
    NO_SHARED_MEMORY,
    read_request,
    serialised_response,
    write_response,
)
from ganserve_server.error_text import MOST_SHOWN
from ganserve_server.errors import EngineError, PermissionDeniedError, RequestError, UnsupportedError, invalid_field
from ganserve_server.monitoring.call_tracking import current_call
from ganserve_server.open_inference.inference import Inference
from ganserve_server.open_inference.plan import InferencePlan
from ganserve_server.queue.ordered_stream import ReadAhead, in_order

INFERENCE_SERVICE = "inference.GRPCInferenceService"

# Larger answers are built on another thread to keep the event loop free.
_OFF_LOOP_BYTES = 2**18
_ANSWER_COPIES = 3  # as in `service`
_log = logging.getLogger(__name__)


class InferenceServicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc] # it has no stubs
    """`inference.GRPCInferenceService`."""

    def __init__(self, inference: Inference, is_ready: Callable[[], bool]) -> None:
        self._inference = inference
        self._graphs = inference.graphs
        self._is_ready = is_ready

    async def ServerLive(self, request: Any, context: Context) -> Any:
        """Return that the server is alive."""
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> Any:
        """Return whether the server takes requests."""
        return service_pb2.ServerReadyResponse(ready=self._is_ready())

    async def ModelReady(self, request: Any, context: Context) -> Any:
        """Return whether a graph takes requests; false if it does not exist."""
        return service_pb2.ModelReadyResponse(ready=self._graphs.is_ready(request.name, request.version))

    async def ServerMetadata(self, request: Any, context: Context) -> Any:
        """Return the server's name, version and extensions."""
        return server_metadata()

    async def ModelMetadata(self, request: Any, context: Context) -> Any:
        """Describe a graph's inputs and outputs."""
        graph = self._graphs.resolve(request.name, request.version)
        versions = [other.model.info.version for other in self._graphs.ready(graph.name)]
        return model_metadata(graph, versions)

    async def ModelConfig(self, request: Any, context: Context) -> Any:
        """Describe how a graph runs."""
        return model_config(self._graphs.resolve(request.name, request.version))

    async def ModelStatistics(self, request: Any, context: Context) -> Any:
        """Return the counts of one graph or of all."""
        return model_statistics(self._graphs.ready(request.name, request.version))

    async def ModelInfer(self, request: Any, context: Context) -> Any:
        """Run a graph."""
        plan = await self._plan(request, context)
        call_account().hold(_ANSWER_COPIES * plan.response_bytes)
        return await self._run(request, plan)

    async def ModelStreamInfer(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """Run graphs, with one response for each request, in order. After a failed request the stream continues."""
        ahead = ReadAhead(payload_bytes=self._inference.limits.max_read_ahead_bytes)
        call_account().hold(ahead.payload_bytes)
        largest = 0

        async def begin(request: Any) -> tuple[Coroutine[Any, Any, Any], int]:
            nonlocal largest
            size = call_account().request_bytes
            try:
                plan = await self._plan(request, context)
                # Of answers beyond the reading ahead there is one at a time, so that the largest counts.
                if plan.response_bytes > largest:
                    call_account().hold(_ANSWER_COPIES * (plan.response_bytes - largest))
                    largest = plan.response_bytes
            except RequestError as error:
                return _answered(_stream_error(request, error)), 0
            return self._run_in_stream(request, plan), size + plan.response_bytes

        async with contextlib.aclosing(in_order(requests, begin, ahead)) as responses:
            async for response in responses:
                yield response

    async def RepositoryIndex(self, request: Any, context: Context) -> Any:
        """List all versions of all graphs."""
        _refuse_repository(request)
        return repository_index(self._graphs.states(), ready_only=request.ready)

    async def RepositoryModelLoad(self, request: Any, context: Context) -> Any:
        """Load the latest version of a model."""
        _refuse_repository(request)
        if request.parameters:
            name = min(request.parameters)[:MOST_SHOWN]
            raise invalid_field("parameters", f"has {name!r}; a model package contains all settings: leave it out")
        await self._inference.load(request.model_name)
        return service_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: Any, context: Context) -> Any:
        """Unload all versions of a model."""
        _refuse_repository(request)
        await self._inference.unload(request.model_name)
        return service_pb2.RepositoryModelUnloadResponse()

    async def _no_shared_memory(self, request: Any, context: Context) -> Any:
        raise UnsupportedError(NO_SHARED_MEMORY)

    async def _no_trace(self, request: Any, context: Context) -> Any:
        raise UnsupportedError("this server has no Triton traces to set")

    async def _no_log_settings(self, request: Any, context: Context) -> Any:
        raise UnsupportedError("this server's log is set at its start: `ganserve serve --log-level`")

    SystemSharedMemoryStatus = SystemSharedMemoryRegister = SystemSharedMemoryUnregister = _no_shared_memory
    CudaSharedMemoryStatus = CudaSharedMemoryRegister = CudaSharedMemoryUnregister = _no_shared_memory
    TraceSetting = _no_trace
    LogSettings = _no_log_settings

    async def _plan(self, request: Any, context: Context) -> InferencePlan:
        deadline = call_deadline(context)

        def plan() -> InferencePlan:
            return self._inference.plan(read_request(request), deadline=deadline)

        return await asyncio.to_thread(plan) if call_account().request_bytes > SMALL_BYTES else plan()

    async def _run(self, request: Any, plan: InferencePlan, *, streamed: bool = False) -> Any:
        result = await self._inference.run(plan, call_account().caller_key)
        if plan.response_bytes > _OFF_LOOP_BYTES:
            return await asyncio.to_thread(serialised_response, request.id, result, streamed=streamed)
        response = service_pb2.ModelInferResponse(id=request.id)
        write_response(response, result, streamed=streamed)
        return service_pb2.ModelStreamInferResponse(infer_response=response) if streamed else response

    async def _run_in_stream(self, request: Any, plan: InferencePlan) -> Any:
        try:
            return await self._run(request, plan, streamed=True)
        except RequestError as error:
            return _stream_error(request, error)


async def _answered(response: Any) -> Any:
    return response


def _stream_error(request: Any, error: RequestError) -> Any:
    code = status_code(error)
    message = status_message(error)
    call = current_call.get()
    if isinstance(error, PermissionDeniedError) and call is not None and not call.reason:  # once for each stream
        call.reason = "denied"
        _log.info("%s: a request of the stream was refused: %s", call.method, message)
    if isinstance(error, EngineError):
        _log.error("a request of a stream failed", exc_info=error)
        message = "the server failed; its log has the reason"
    response = service_pb2.ModelInferResponse(
        id=request.id, model_name=request.model_name, model_version=request.model_version
    )
    return service_pb2.ModelStreamInferResponse(error_message=f"[{code.name}] {message}", infer_response=response)


def _refuse_repository(request: Any) -> None:
    if request.repository_name:
        raise invalid_field("repository_name", "is given; this server has one repository without a name: leave it out")
