"""Refuse messages that cannot be parsed with a clear status, where gRPC would fail without one."""

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from ganserve_server.api.grpc.error_status import status_code, status_details, status_message
from ganserve_server.api.grpc.gan_service import Context
from ganserve_server.errors import InvalidRequestError, invalid_field

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_MAKERS: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class _Malformed:
    """Takes the place of a message that cannot be parsed, until a handler can refuse it."""


def read_message(request: Any) -> Any:
    """Return the message; raise InvalidRequestError if it could not be parsed."""
    if isinstance(request, _Malformed):
        description = "is not a message of this method's type: use the protos of this server's version"
        raise invalid_field("request", description)
    return request


def function_of(handler: Handler) -> Callable[..., Any]:
    """Return the function of a method handler."""
    function = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert function is not None, "a handler has one of the four"
    return function


def with_function(handler: Handler, function: Callable[..., Any]) -> Handler:
    """Return a handler with another function, which gets messages for `read_message`."""
    deserializer = handler.request_deserializer
    assert deserializer is not None, "generated handlers have one"

    def deserialize(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError:
            return _Malformed()

    make = _MAKERS[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(function, deserialize, handler.response_serializer)


def refusing_malformed(handler: Handler) -> Handler:
    """Return a handler of a gRPC standard service that refuses malformed messages."""
    inner: Any = function_of(handler)
    assert not handler.request_streaming or handler.response_streaming, "no standard method is stream to unary"

    async def refuse(context: Context, error: InvalidRequestError) -> None:
        await context.abort(status_code(error), status_message(error), status_details(error))

    async def unary(request: Any, context: Context) -> Any:
        try:
            return await inner(read_message(request), context)
        except InvalidRequestError as error:
            return await refuse(context, error)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            read = _read_messages(request) if handler.request_streaming else read_message(request)
            async for response in inner(read, context):
                yield response
        except InvalidRequestError as error:
            await refuse(context, error)

    return with_function(handler, stream if handler.response_streaming else unary)


async def _read_messages(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield read_message(request)
