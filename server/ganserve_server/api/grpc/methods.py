"""The server's methods, and what happens around every call but those of gRPC's own services, in its order.

1. it gets its id, which every answer tells in the trailing metadata, and its clock starts;
2. a server that drains turns it away; then each gate lets it in or turns it away: who the caller is, how much it may
   ask for, and whatever else a server has (`Gate`; `server.GrpcServer` lists them in their order);
3. its message is read, and its handler runs;
4. an error becomes a status with google.rpc details;
5. it is counted, written to the access log, and the gates are told of its end, the last one first.

All of the above is one wrapper around each method's function, made once a method, and it says little for calls that go
well: in a server at work, whose caches are full of other things, a microsecond of Python in a loop is five. That is why
the methods are one generic handler and no interceptor, too: for each method that is registered by its name,
grpc.aio 1.8x looks at one more future a call, which made a third of the event loop's work of our 32 methods.

Responses that stream come from async generators, as `core.gan` gives them; the wrapper closes them at once when the
client goes away, so that their work stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from ganserve_server.api.grpc.errors import status_code, status_details, status_message, told
from ganserve_server.errors import FieldViolation, InvalidRequestError, UnavailableError, UnsupportedError
from ganserve_server.monitoring.calls import OK, REQUEST_ID_KEY, UNKNOWN_METHOD, Call, current_call
from ganserve_server.requests.validation import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ganserve_server.monitoring.calls import CallStatistics, MethodStatistics
    from ganserve_server.monitoring.logs import AccessLog

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Metadata = tuple[tuple[str, str | bytes], ...]

# gRPC's own services (health, reflection) answer while the server drains and map their own errors.
_STANDARD_SERVICES = "/grpc."
# So are questions about the server as a whole.
_ABOUT_THE_SERVER = frozenset(f"/inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ServerReady"))
_MOST_METHOD = 200  # characters of a method that does not exist, for the log
_CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}
_log = logging.getLogger(__name__)


class Gate(Protocol):
    """Lets calls in or turns them away. Runs on the event loop for every call, so it is quick and never waits."""

    def enter(self, call: Call, context: Context) -> Callable[[], None] | None:
        """Lets a call in.

        Returns:
            What to do at the call's end, if anything.

        Raises:
            RequestError: Why it is turned away; the client gets its status and message.
        """


class Methods(grpc.GenericRpcHandler):
    """The methods that there are, wrapped; those of gRPC's own services only so that they refuse with words.

    The generated `add_…Servicer_to_server` functions take it for a server.
    """

    def __init__(self, gates: Sequence[Gate], statistics: CallStatistics, access_log: AccessLog) -> None:
        """Prepare it.

        Args:
            gates: What may turn calls away, in this order.
            statistics: Where calls are counted.
            access_log: Where calls are written.
        """
        self._gates = tuple(gates)
        self._statistics = statistics
        self._access_log = access_log
        self._services: list[grpc.GenericRpcHandler] = []
        self._wrapped: dict[str, Handler] = {}
        self._no_method = self._wrap(_NO_METHOD, statistics.of(UNKNOWN_METHOD))
        self._draining = False
        self._cutting = False
        self._unary: set[Call] = set()  # calls with one answer that run
        self._idle = asyncio.Event()
        self._closed = asyncio.Event()
        # Whether calls that go well need a look, too, as they arrive and as they end.
        self._guarded = bool(self._gates)
        self._watched = bool(self._gates) or access_log.level == "all"

    @property
    def running(self) -> int:
        """Calls that were let in and have not ended."""
        return self._statistics.running

    @property
    def draining(self) -> bool:
        """Whether calls are turned away."""
        return self._draining

    def close(self) -> None:
        """Turn calls away from now on, and reads no further requests of streams: what was read is answered."""
        self._draining = self._guarded = self._watched = True
        self._closed.set()

    async def drained(self) -> None:
        """Return once no call runs; `close` was called before."""
        if self.running:
            await self._idle.wait()

    def cut_off(self) -> None:
        """End what runs, with words: streams at their next message, calls with one answer at once."""
        self._cutting = True
        for call in self._unary:
            assert call.task is not None, "each call is a task of its own"
            call.task.cancel()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add the methods of a service."""
        self._services.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        """Is told of the same methods once more."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler of a call; runs in the call's own task, as the handler does."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method) or self._find(handler_call_details)
        if wrapped is None:
            wrapped, method = self._no_method, method[:_MOST_METHOD]  # clients name what they like
        elif method.startswith(_STANDARD_SERVICES):
            return wrapped
        current_call.set(Call(method, handler_call_details.invocation_metadata))
        return wrapped

    def _find(self, details: grpc.HandlerCallDetails) -> Handler | None:
        method = details.method
        handler = next(filter(None, (service.service(details) for service in self._services)), None)
        if handler is None:
            return None
        standard = method.startswith(_STANDARD_SERVICES)
        self._wrapped[method] = _readable(handler) if standard else self._wrap(handler, self._statistics.of(method))
        return self._wrapped[method]

    def _wrap(self, handler: Handler, counts: MethodStatistics) -> Handler:
        inner: Any = _function(handler)
        read: Any = self._read_stream if handler.request_streaming else _read_message
        statistics = self._statistics

        async def unary(request: Any, context: Context) -> Any:
            call: Any = current_call.get()
            context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
            statistics.running += 1
            call.task = asyncio.current_task()
            self._unary.add(call)
            try:
                if self._guarded:
                    self._enter(call, context)
                call.request = request = read(request)
                return await inner(request, context)
            except Exception as error:  # noqa: BLE001 - whatever was raised, the client gets a status
                failure = _failure(context, call, error)
            except asyncio.CancelledError:
                if not self._cutting or context.cancelled():
                    call.code = _ended_code(context)
                    raise
                failure = _failure(context, call, UnavailableError(_CUT_OFF_UNANSWERED))
            finally:
                self._unary.discard(call)
                call.task = None  # which has the call in its context: no circle is left for the garbage collector
                statistics.running -= 1
                counts.count(call.code, time.perf_counter() - call.started)
                if self._watched or call.code is not OK:
                    self._leave(call, context)
            # Last, so that a call is counted before its client knows how it ended. gRPC keeps this frame in a circle.
            request = call = None
            return await context.abort(*failure)

        async def stream(request: Any, context: Context) -> None:
            call: Any = current_call.get()
            context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
            statistics.running += 1
            try:
                if self._guarded:
                    self._enter(call, context)
                call.request = request = read(request)
                async with contextlib.aclosing(inner(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)
                        if self._cutting:
                            raise UnavailableError(_CUT_OFF)
                return
            except Exception as error:  # noqa: BLE001
                failure = _failure(context, call, error)
            except asyncio.CancelledError:
                call.code = _ended_code(context)
                raise
            finally:
                statistics.running -= 1
                counts.count(call.code, time.perf_counter() - call.started)
                if self._watched or call.code is not OK:
                    self._leave(call, context)
            # As above.
            request = call = None
            await context.abort(*failure)

        return _rebuilt(handler, stream if handler.response_streaming else unary, _tolerant(handler))

    async def _read_stream(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield the messages of a stream until its client, or the server, ends it."""
        closed = asyncio.create_task(self._closed.wait())
        reading: asyncio.Future[Any] | None = None
        try:
            while True:
                reading = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait((reading, closed), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    raise UnavailableError(_NO_MORE_REQUESTS)
                if (request := reading.result()) is None:
                    return
                yield _read_message(request)
        finally:
            closed.cancel()
            if reading is not None and not reading.done():
                # The call ends while a message is awaited. gRPC lets that fail, which is nobody's concern.
                reading.add_done_callback(lambda task: task.cancelled() or task.exception())
                reading.cancel()

    def _enter(self, call: Call, context: Context) -> None:
        if self._draining and call.method not in _ABOUT_THE_SERVER:
            raise UnavailableError("the server is shutting down: ask another replica, or try again soon")
        for gate in self._gates:
            if (leave := gate.enter(call, context)) is not None:
                call.leaves = (leave, *call.leaves)

    def _leave(self, call: Call, context: Context) -> None:
        for leave in call.leaves:
            leave()
        if self._access_log.wants(call.code):
            self._access_log.write(call, time.perf_counter() - call.started, context.peer())
        if self._draining and not self.running:
            self._idle.set()


_CUT_OFF = (
    "the server is shutting down and ends this stream here: go on at another replica, with the same seed and the "
    "offset of the next sample"
)
_CUT_OFF_UNANSWERED = "the server is shutting down and ends this call unanswered: ask another replica"
_NO_MORE_REQUESTS = "the server is shutting down and reads no further requests: go on at another replica"


async def _refuse_method(_requests: AsyncIterator[Any], _context: Context) -> AsyncIterator[bytes]:
    """End a call of a method that does not exist; gRPC's own way to do so tells no request id."""
    call: Any = current_call.get()
    raise UnsupportedError(f"there is no method {shown(call.method)}: ask server reflection what there is")
    yield b""  # makes it a generator


# Of the four kinds of methods, this waits for no message: whatever kind the client takes it for is refused at once.
_NO_METHOD: Handler = grpc.stream_stream_rpc_method_handler(_refuse_method, bytes, bytes)


def _failure(context: Context, call: Call, error: Exception) -> tuple[grpc.StatusCode, str, Metadata]:
    """Return what `abort` wants for an error, and notes it on the call."""
    if isinstance(error, grpc.aio.AbortError):  # the handler has done so itself
        number: Any = context.code()  # whatever the stubs say
        call.code, call.message = _CODE_NAMES.get(number, grpc.StatusCode.UNKNOWN.name), str(context.details())
        raise error
    code, message, metadata = told(error, call.method, call.request_id)
    call.code, call.message = code.name, message
    return code, message, metadata


def _readable(handler: Handler) -> Handler:
    """Return a handler of gRPC's own that refuses what it cannot read, where theirs fail."""
    inner: Any = _function(handler)
    assert not handler.request_streaming or handler.response_streaming, (
        "no standard method takes a stream for one answer"
    )

    async def refuse(context: Context, error: InvalidRequestError) -> None:
        await context.abort(status_code(error), status_message(error), status_details(error))

    async def unary(request: Any, context: Context) -> Any:
        try:
            return await inner(_read_message(request), context)
        except InvalidRequestError as error:
            return await refuse(context, error)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            read = _read_messages(request) if handler.request_streaming else _read_message(request)
            async for response in inner(read, context):
                yield response
        except InvalidRequestError as error:
            await refuse(context, error)

    return _rebuilt(handler, stream if handler.response_streaming else unary, _tolerant(handler))


async def _read_messages(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _read_message(request)


class _Unreadable:
    """Stands for a message that could not be parsed, until there is a handler to refuse it."""


def _tolerant(handler: Handler) -> Callable[[bytes], Any]:
    deserializer = handler.request_deserializer
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


def _ended_code(context: Context) -> str:
    """Return the status of a call that the transport ended: its client went away, or its deadline passed."""
    remaining_s: float | None = context.time_remaining()
    expired = remaining_s is not None and remaining_s <= 0
    return (grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED).name


def _function(handler: Handler) -> Callable[..., Any]:
    function = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert function is not None, "a handler has one of the four"
    return function


def _rebuilt(handler: Handler, function: Callable[..., Any], deserializer: Callable[[bytes], Any]) -> Handler:
    makers: dict[tuple[bool, bool], Callable[..., Handler]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(function, deserializer, handler.response_serializer)
