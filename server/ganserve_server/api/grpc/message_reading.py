"""Read the messages of calls: check their bounds, parse them, and refuse those that are wrong with a clear status.

Left to itself, gRPC gives no clear status for a message that cannot be parsed, and it parses every message on the event
loop, however many fields it has.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from ganserve_server.api.grpc.message_bounds import (
    LargeMessageError,
    MalformedMessageError,
    check_bounds,
    check_bounds_quickly,
)
from ganserve_server.errors import invalid_field

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

# Messages up to this size are parsed at once: whatever is in them, that takes less than half a millisecond.
SMALL_BYTES = 2**12
# Copying more than this takes a few hundred microseconds.
_OFF_LOOP_BYTES = 2**20
_MALFORMED = "is not a message of this method's type: use the protos of this server's version"


class MessageReader:
    """Reads the requests of one method. Methods raise InvalidRequestError for messages that are wrong."""

    def __init__(self, handler: Handler) -> None:
        parse: Any = handler.request_deserializer
        self._parse: Callable[[bytes], Any] = parse
        # Generated handlers parse by `Message.FromString`.
        self._descriptor: Any = None if parse is bytes else parse.__self__.DESCRIPTOR

    def small(self, data: bytes) -> Any:
        """Parse a message of at most SMALL_BYTES."""
        try:
            return self._parse(data)
        except DecodeError:
            raise invalid_field("request", _MALFORMED) from None

    async def large(self, data: bytes) -> Any:
        """Check and parse a message, on another thread if it has many fields or megabytes."""
        if self._descriptor is None:
            return self._parse(data)
        try:
            check_bounds_quickly(data, self._descriptor)
            if len(data) <= _OFF_LOOP_BYTES:
                return self.small(data)
        except LargeMessageError:
            return await asyncio.to_thread(self._check_and_parse, data)
        except MalformedMessageError:
            raise invalid_field("request", _MALFORMED) from None
        return await asyncio.to_thread(self.small, data)

    def _check_and_parse(self, data: bytes) -> Any:
        try:
            check_bounds(data, self._descriptor)
        except MalformedMessageError:
            raise invalid_field("request", _MALFORMED) from None
        return self.small(data)

    async def read(self, data: bytes) -> Any:
        """Check and parse a message of any size."""
        return self.small(data) if len(data) <= SMALL_BYTES else await self.large(data)


def function_of(handler: Handler) -> Callable[..., Any]:
    """Return the function of a method handler."""
    function = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert function is not None, "a handler has one of the four"
    return function


def with_function(handler: Handler, function: Callable[..., Any]) -> Handler:
    """Return a handler with another function, which reads the bytes of requests by its context.

    So all methods have request streams here, which on the wire is the same: the function decides when a request is
    read, and may refuse its call before. Answers may be bytes.
    """
    make: Any = (
        grpc.stream_stream_rpc_method_handler if handler.response_streaming else grpc.stream_unary_rpc_method_handler
    )
    serialize: Any = handler.response_serializer
    handled: Handler = make(function, None, lambda answer: answer if type(answer) is bytes else serialize(answer))
    return handled
