"""How calls reach a server: over gRPC, blocking or with asyncio."""

from __future__ import annotations

import asyncio
import secrets
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ganserve._channel import open_async_channel, open_channel
from ganserve._config import ClientConfig, grpc_timeout
from ganserve._errors import ClientClosed, GanserveError, RequestCancelled
from ganserve._failures import REQUEST_ID_KEY, from_rpc_error
from ganserve.v1 import gan_service_pb2_grpc

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from ganserve._calls import Call, StreamCall

ResultT = TypeVar("ResultT")


def new_request_id() -> str:
    """An id to find a request in a server's log."""
    return secrets.token_hex(8)


def _closed() -> ClientClosed:
    return ClientClosed("this client is closed: make a new one, or keep the calls inside its with block")


class Transport:
    """Carries out calls and waits for them; used by any number of threads."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._channel = open_channel(config)
        self._stub = gan_service_pb2_grpc.GanServiceStub(self._channel)
        self._closed = threading.Event()

    def unary(self, call: Call[ResultT]) -> ResultT:
        """The result of a call.

        Raises:
            GanserveError: It failed.
        """
        request_id = new_request_id()
        try:
            response = self._start(call.method, call.request, request_id, grpc_timeout(call.timeout_s))
        except grpc.RpcError as error:
            raise self.failure(error, request_id, call.timeout_s) from error
        return call.parse(response)

    def stream(self, call: StreamCall, request_id: str) -> Any:
        """Starts a stream; gRPC's call object."""
        return self._start(call.method, call.request, request_id, None)

    def _start(self, method: str, request: Message, request_id: str, timeout: float | None) -> Any:
        if self._closed.is_set():
            raise _closed()
        try:
            return getattr(self._stub, method)(request, timeout=timeout, metadata=((REQUEST_ID_KEY, request_id),))
        except ValueError as error:  # what grpc says of a channel that another thread has just closed
            if self._closed.is_set():
                raise _closed() from error
            raise

    def failure(self, error: grpc.RpcError, request_id: str, timeout_s: float) -> GanserveError:
        """The SDK's error for gRPC's."""
        return from_rpc_error(error, target=self.config.target, request_id=request_id, timeout_s=timeout_s)

    def close(self) -> None:
        """Closes the connection; calls that are under way end with RequestCancelled. Again: nothing."""
        if not self._closed.is_set():
            self._closed.set()
            self._channel.close()


class AsyncTransport:
    """Carries out calls on an event loop; used by any number of its tasks."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._closed = False
        self._channel: grpc.aio.Channel | None = None
        self._stub: gan_service_pb2_grpc.GanServiceAsyncStub | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _connected(self) -> gan_service_pb2_grpc.GanServiceAsyncStub:
        """The stub. The channel is made with the first call, because grpc.aio binds it to the loop that runs then."""
        if self._closed:
            raise _closed()
        loop = asyncio.get_running_loop()
        if self._stub is None:
            self._loop, self._channel = loop, open_async_channel(self.config)
            self._stub = gan_service_pb2_grpc.GanServiceStub(self._channel)
        elif self._loop is not loop:
            raise GanserveError("this AsyncClient belongs to another event loop: make one for each asyncio.run")
        return self._stub

    async def unary(self, call: Call[ResultT]) -> ResultT:
        """The result of a call.

        Raises:
            GanserveError: It failed.
        """
        request_id = new_request_id()
        method = getattr(self._connected(), call.method)
        try:
            response = await method(
                call.request, timeout=grpc_timeout(call.timeout_s), metadata=((REQUEST_ID_KEY, request_id),)
            )
        except grpc.RpcError as error:
            raise self.failure(error, request_id, call.timeout_s) from error
        except asyncio.CancelledError as error:
            if self.cancelled_by_close():
                raise RequestCancelled(
                    "the client was closed during this call", code="CANCELLED", request_id=request_id
                ) from error
            raise
        return call.parse(response)

    def stream(self, call: StreamCall, request_id: str) -> Any:
        """Starts a stream; gRPC's call object."""
        return self._connected().StreamSamples(call.request, metadata=((REQUEST_ID_KEY, request_id),))

    def failure(self, error: grpc.RpcError, request_id: str, timeout_s: float) -> GanserveError:
        """The SDK's error for gRPC's."""
        return from_rpc_error(error, target=self.config.target, request_id=request_id, timeout_s=timeout_s)

    def cancelled_by_close(self) -> bool:
        """Whether a cancellation came from `close()` and not from someone who cancelled this task."""
        task = asyncio.current_task()
        return self._closed and (task is None or not task.cancelling())

    async def close(self) -> None:
        """Closes the connection; calls that are under way end with RequestCancelled. Again: nothing."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()
