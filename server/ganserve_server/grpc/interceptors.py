"""What happens around every call: errors become statuses, a draining server turns new calls away.

A gRPC interceptor sees a call's handler, not the call, so each of these wraps the handler's function, once a method.
Responses that stream come from async generators, as `core.gan` gives them; the outermost wrapper closes them at once
when the client goes away, so that their work stops.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
import re
import secrets
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from ganserve_server.core.errors import (
    EngineError,
    FieldViolation,
    InvalidRequestError,
    RequestError,
    UnavailableError,
)
from ganserve_server.grpc.errors import REQUEST_ID_KEY, status_code, status_details, status_message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Unary = Callable[[Any, Context], Awaitable[Any]]
    Stream = Callable[[Any, Context], AsyncGenerator[Any, None]]

# gRPC's own services (health, reflection) answer while the server drains and map their own errors.
_STANDARD_SERVICES = "/grpc."
_REQUEST_ID = re.compile(r"[!-~]{1,64}")
_log = logging.getLogger(__name__)


class _Interceptor(grpc.aio.ServerInterceptor, abc.ABC):
    """Wraps the handler of each method once and remembers it."""

    def __init__(self) -> None:
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Returns the wrapped handler of a call; see `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_STANDARD_SERVICES):
            return handler
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = handler, self.wrap(method, handler)
        return known[1]

    @abc.abstractmethod
    def wrap(self, method: str, handler: Handler) -> Handler:
        """Returns the handler that stands in for `handler`."""


class AdmissionInterceptor(_Interceptor):
    """Counts the calls that run, and turns new ones away once the server drains."""

    def __init__(self) -> None:
        super().__init__()
        self._running = 0
        self._draining = False
        self._cutting = False
        self._idle = asyncio.Event()

    @property
    def running(self) -> int:
        """Calls that run."""
        return self._running

    async def drain(self) -> None:
        """Turns calls away from now on, and returns once none runs."""
        self._draining = True
        if self._running:
            await self._idle.wait()

    def cut_off(self) -> None:
        """Ends running streams at their next message, with words."""
        self._cutting = True

    def wrap(self, method: str, handler: Handler) -> Handler:  # noqa: ARG002 - the same for all methods
        """Returns a handler that is counted."""
        inner: Any = _function(handler)

        async def unary(request: Any, context: Context) -> Any:
            self._enter()
            try:
                return await inner(request, context)
            finally:
                self._leave()

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            self._enter()
            try:
                async with contextlib.aclosing(inner(request, context)) as responses:
                    async for response in responses:
                        yield response
                        if self._cutting:
                            raise UnavailableError(
                                "the server is shutting down and ends this stream here: go on at another replica, with "
                                "the same seed and the offset of the next sample"
                            )
            finally:
                self._leave()

        return _rebuilt(handler, stream if handler.response_streaming else unary)

    def _enter(self) -> None:
        if self._draining:
            raise UnavailableError("the server is shutting down: ask another replica, or try again soon")
        self._running += 1

    def _leave(self) -> None:
        self._running -= 1
        if self._draining and not self._running:
            self._idle.set()


class ErrorInterceptor(_Interceptor):
    """Answers errors with a status code, google.rpc details and a request id. The outermost interceptor."""

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Returns a handler that raises nothing but `grpc.aio.AbortError`."""
        inner: Any = _function(handler)
        readable: Any = _read_stream if handler.request_streaming else _read_message

        async def unary(request: Any, context: Context) -> Any:
            try:
                return await inner(readable(request), context)
            except Exception as error:  # noqa: BLE001 - whatever was raised, the client gets a status
                await _abort(context, method, error)

        async def stream(request: Any, context: Context) -> None:
            try:
                async with contextlib.aclosing(inner(readable(request), context)) as responses:
                    async for response in responses:
                        await context.write(response)
            except Exception as error:  # noqa: BLE001
                await _abort(context, method, error)

        return _rebuilt(
            handler, stream if handler.response_streaming else unary, _tolerant(handler.request_deserializer)
        )


class _Unreadable:
    """Stands for a message that could not be parsed, until there is a handler to refuse it."""


def _tolerant(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    assert deserializer is not None, "generated handlers have one"

    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError:
            return _Unreadable()

    return deserialize


def _read_message(request: Any) -> Any:
    if isinstance(request, _Unreadable):
        description = "is no message of the type that this method takes: use the protos of this server's version"
        raise InvalidRequestError([FieldViolation("request", description)])
    return request


async def _read_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _read_message(request)


async def _abort(context: Context, method: str, error: Exception) -> None:
    request_id = _request_id(context)
    if isinstance(error, RequestError) and not isinstance(error, EngineError):
        code, message, details = status_code(error), status_message(error), status_details(error)
    else:
        _log.error("%s failed; request id %s", method, request_id, exc_info=error)
        code, details = grpc.StatusCode.INTERNAL, ()
        message = f"the server failed; its log says why beside the request id {request_id}"
    await context.abort(code, message, (*details, (REQUEST_ID_KEY, request_id)))


def _request_id(context: Context) -> str:
    """Returns the id that the client gave, or a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return secrets.token_hex(8)


def _function(handler: Handler) -> Callable[..., Any]:
    function = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert function is not None, "a handler has one of the four"
    return function


def _rebuilt(
    handler: Handler, function: Callable[..., Any], deserializer: Callable[[bytes], Any] | None = None
) -> Handler:
    makers: dict[tuple[bool, bool], Callable[..., Handler]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(function, deserializer or handler.request_deserializer, handler.response_serializer)
