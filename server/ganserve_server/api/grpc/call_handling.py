"""Handle every call around its method: id, drain, errors, counts, access log.

For each call, except those to gRPC's standard services:

1. it gets an id, which every answer carries in the trailing metadata, and its clock starts;
2. its message is read, and its method runs;
3. an error becomes a status with google.rpc details;
4. it is counted, and written to the access log.

One wrapper around each method does all of this, and does little for successful calls: with the caches of a busy server,
Python code that takes one microsecond in a loop takes five. For the same reason the methods are one generic handler
without interceptors: for each method registered by name, grpc.aio 1.8x checks one more future per call, which took a
third of the event loop's time with our 32 methods.

Streamed responses come from async generators. The wrapper closes them as soon as the client leaves, so that their work
stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import grpc

from ganserve_server.api.grpc import sentry
from ganserve_server.api.grpc.drain import CUT_OFF, CUT_OFF_UNANSWERED, NO_MORE_REQUESTS, Drain
from ganserve_server.api.grpc.error_status import client_status, status_code, status_details, status_message
from ganserve_server.api.grpc.gan_service import Context
from ganserve_server.api.grpc.gate import Gate
from ganserve_server.api.grpc.guard import REVOKED, Guard
from ganserve_server.api.grpc.message_reading import (
    SMALL_BYTES,
    Handler,
    MessageReader,
    function_of,
    with_function,
)
from ganserve_server.error_text import shown
from ganserve_server.errors import (
    PermissionDeniedError,
    RequestError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)
from ganserve_server.identity.rules import RULES, Rule
from ganserve_server.monitoring.access_log import AccessLog
from ganserve_server.monitoring.call_tracking import (
    OK,
    REQUEST_ID_KEY,
    UNKNOWN_METHOD,
    Call,
    CallStatistics,
    MethodStatistics,
    current_call,
)
from ganserve_server.monitoring.span_lifecycle import begin_trace, end_trace
from ganserve_server.tracing.spans import CallTracer

Metadata = tuple[tuple[str, str | bytes], ...]

# gRPC's standard services (health, reflection) answer during a drain and report their own errors.
_STANDARD_SERVICES = "/grpc."
_MOST_METHOD_CHARACTERS = 200  # of an unknown method, for the log
_CODE_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


class CallHandler(grpc.GenericRpcHandler):
    """All methods of the server, wrapped. The generated `add_…Servicer_to_server` functions register them here."""

    def __init__(
        self,
        drain: Drain,
        statistics: CallStatistics,
        access_log: AccessLog,
        gate: Gate,
        guard: Guard,
        tracer: CallTracer | None = None,
    ) -> None:
        self._drain = drain
        self._statistics = statistics
        self._access_log = access_log
        self._gate = gate
        self._guard = guard
        self._tracer = tracer
        self._services: list[grpc.GenericRpcHandler] = []
        self._wrapped: dict[str, Handler] = {}
        self._no_method = self._wrap(_NO_METHOD, statistics.of(UNKNOWN_METHOD), None)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add the methods of a service."""
        self._services.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        """Ignore the methods, which `add_generic_rpc_handlers` has added."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler of a call; runs in the call's task, as the handler does."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method) or self._find(handler_call_details)
        if wrapped is None:
            return self.no_method(handler_call_details)
        if method.startswith(_STANDARD_SERVICES):
            return wrapped
        current_call.set(Call(method, handler_call_details.invocation_metadata))
        return wrapped

    def no_method(self, details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler that refuses a call of a method that is not there."""
        current_call.set(Call(details.method[:_MOST_METHOD_CHARACTERS], details.invocation_metadata))
        return self._no_method

    def _find(self, details: grpc.HandlerCallDetails) -> Handler | None:
        method = details.method
        handler = next(filter(None, (service.service(details) for service in self._services)), None)
        rule = RULES.get(method)
        if handler is None or rule is None:  # a new method needs a rule
            return None
        if method.startswith(_STANDARD_SERVICES):
            wrapped = self._wrap_standard(handler, method, rule)
        else:
            wrapped = self._wrap(handler, self._statistics.of(method), rule)
        self._wrapped[method] = wrapped
        return wrapped

    def _wrap(self, handler: Handler, counts: MethodStatistics, rule: Rule | None) -> Handler:
        inner: Any = function_of(handler)
        reader = MessageReader(handler)
        statistics, drain, log_all = self._statistics, self._drain, self._access_log.level == "all"

        gate, callers, stalls = self._gate, self._gate.callers, self._gate.stalls
        guard = self._guard
        guarded = guard.closed and rule is not None
        tracer = self._tracer if rule is not None else None

        async def unary(_requests: object, context: Context) -> Any:
            call: Any = current_call.get()
            context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
            statistics.running += 1
            if tracer is not None:
                begin_trace(tracer, call)
            call.task = asyncio.current_task()
            drain.unary_calls.add(call)
            caller = None
            try:
                peer = context.peer()
                if guarded:
                    guard.admit(call, context, rule)
                entered = gate.enter(call, peer)
                if entered.at_work < callers.at_once and not entered.waiting:
                    entered.at_work += 1
                else:
                    await callers.turn(entered)
                caller = entered
                data: Any = await stalls.read(call, caller, context)
                gate.received(call, size := len(data))
                call.request = request = reader.small(data) if size <= SMALL_BYTES else await reader.large(data)
                data = None
                answer = await inner(request, context)
                stalls.begin_answer(call, peer)
                return answer
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                failure = _failure(context, call, error)
            except asyncio.CancelledError:
                if not drain.cutting or context.cancelled():
                    call.code = _ended_code(context)
                    raise
                failure = _failure(context, call, UnavailableError(CUT_OFF_UNANSWERED))
            finally:
                if caller is not None:
                    callers.end_turn(caller)
                drain.unary_calls.discard(call)
                call.task = None  # break the reference cycle: the task's context holds the call
                statistics.running -= 1
                counts.count(call.code, time.perf_counter() - call.started)
                if call.trace is not None:
                    end_trace(call)
                if log_all or drain.draining or call.code is not OK:
                    self._ended(call, context)
            # Abort last, after counting the call. gRPC keeps this frame in a reference cycle: release its objects.
            data = request = answer = call = caller = None
            return await context.abort(*failure)

        async def responses_of(requests: Any, context: Context) -> AsyncGenerator[Any]:
            call: Any = current_call.get()
            context.set_trailing_metadata(((REQUEST_ID_KEY, call.request_id),))
            statistics.running += 1
            request: Any
            if tracer is not None:
                begin_trace(tracer, call)
            call.task = asyncio.current_task()
            try:
                peer = context.peer()
                if guarded:
                    guard.admit_stream(call, context, rule)
                caller = gate.enter(call, peer)
                if handler.request_streaming:
                    gate.hold_stream(call)
                    call.request = request = self._read_stream(call, reader, requests)
                else:
                    data = await stalls.read(call, caller, context)
                    gate.received(call, len(data))
                    call.request = request = await reader.read(data)
                    del data
                async with contextlib.aclosing(inner(request, context)) as responses:
                    async for response in responses:
                        stalls.begin_answer(call, peer)
                        yield response
                        stalls.end_answer(call)
                        if drain.cutting:
                            raise UnavailableError(CUT_OFF)
                        if call.revoked:
                            raise UnauthenticatedError(REVOKED)
                return
            except Exception as error:  # noqa: BLE001
                failure = _failure(context, call, error)
            except (asyncio.CancelledError, GeneratorExit) as ended:
                if not call.revoked:
                    call.code = _ended_code(context)
                    raise
                failure = _failure(context, call, UnauthenticatedError(REVOKED))
                if isinstance(ended, GeneratorExit):  # `stream` aborts
                    raise
            finally:
                call.task = None
                statistics.running -= 1
                counts.count(call.code, time.perf_counter() - call.started)
                if call.trace is not None:
                    end_trace(call)
                if log_all or drain.draining or call.code is not OK:
                    self._ended(call, context)
            request = response = call = None  # as above
            await context.abort(*failure)

        async def stream(requests: Any, context: Context) -> None:
            call: Any = current_call.get()
            try:
                async with contextlib.aclosing(responses_of(requests, context)) as responses:
                    async for response in responses:
                        try:
                            await context.write(response)
                        except grpc.aio.InternalError:  # the client left while gRPC sent this response
                            return
            except asyncio.CancelledError:
                if not call.revoked:
                    raise
                await context.abort(*_failure(context, call, UnauthenticatedError(REVOKED)))

        function: Any = unary
        if handler.response_streaming:
            function = responses_of if _is_instrumented() else stream
        if rule is not None and sentry.traces_calls():
            function = sentry.traced_stream(responses_of) if handler.response_streaming else sentry.traced_unary(unary)
        return with_function(handler, function)

    async def _read_stream(
        self, call: Call, reader: MessageReader, requests: AsyncIterator[bytes]
    ) -> AsyncIterator[Any]:
        """Yield the messages of a stream until its client or the server ends it."""
        drained = asyncio.create_task(self._drain.begun.wait())
        reading: asyncio.Future[Any] | None = None
        try:
            while True:
                reading = asyncio.ensure_future(self._gate.stalls.read_next(call, requests))
                await asyncio.wait((reading, drained), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    raise UnavailableError(NO_MORE_REQUESTS)
                if (request := reading.result()) is None:
                    return
                call.account.request_bytes = len(request)
                yield await reader.read(request)
        finally:
            drained.cancel()
            if reading is not None and not reading.done():
                # The call ends while it waits for a message. gRPC then fails the read: mark its error as seen.
                reading.add_done_callback(lambda task: task.cancelled() or task.exception())
                reading.cancel()

    def _wrap_standard(self, handler: Handler, method: str, rule: Rule) -> Handler:
        """Return a handler of a gRPC standard service that reads its messages as the others do."""
        inner: Any = function_of(handler)
        reader, gate, guard = MessageReader(handler), self._gate, self._guard
        assert not handler.request_streaming or handler.response_streaming, "no standard method is stream to unary"

        async def read_all(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            while (request := await gate.stalls.read_next(call, requests)) is not None:
                yield await reader.read(request)

        async def begin(call: Call, requests: Any, context: Context) -> Any:
            call.task = asyncio.current_task()
            if guard.closed:
                (guard.admit_stream if handler.response_streaming else guard.admit)(call, context, rule)
            caller = gate.enter(call, context.peer())
            if not handler.request_streaming:
                data = await gate.stalls.read(call, caller, context)
                gate.received(call, len(data))
                return await reader.read(data)
            gate.hold_stream(call)
            return read_all(call, requests)

        async def refuse(call: Call, context: Context, error: RequestError) -> Any:
            if isinstance(error, UnauthenticatedError | PermissionDeniedError):
                call.code, call.message = status_code(error).name, status_message(error)
                call.reason = getattr(error, "reason", "")
                if self._access_log.wants(call.code):
                    self._access_log.write(call, time.perf_counter() - call.started, context.peer())
            metadata: Metadata = (*status_details(error), (REQUEST_ID_KEY, call.request_id))
            return await context.abort(status_code(error), status_message(error), metadata)

        async def unary(requests: Any, context: Context) -> Any:
            call = Call(method, _metadata(context))
            try:
                return await inner(await begin(call, requests, context), context)
            except RequestError as error:
                return await refuse(call, context, error)
            finally:
                call.task = None

        async def stream(requests: Any, context: Context) -> None:
            call = Call(method, _metadata(context))
            try:
                async for response in inner(await begin(call, requests, context), context):
                    await context.write(response)
            except RequestError as error:
                await refuse(call, context, error)
            except asyncio.CancelledError:
                if not call.revoked:
                    raise
                await refuse(call, context, UnauthenticatedError(REVOKED))
            finally:
                call.task = None

        return with_function(handler, stream if handler.response_streaming else unary)

    def _ended(self, call: Call, context: Context) -> None:
        if self._access_log.wants(call.code):
            self._access_log.write(call, time.perf_counter() - call.started, context.peer())
        if self._drain.draining:
            self._drain.call_ended()


def _metadata(context: Context) -> Sequence[tuple[str, str | bytes]]:
    metadata: Any = context.invocation_metadata()
    return metadata or ()


async def _refuse_method(_requests: AsyncIterator[Any], _context: Context) -> AsyncIterator[bytes]:
    """Refuse a method that does not exist; gRPC's own refusal carries no request id."""
    call: Any = current_call.get()
    raise UnsupportedError(f"there is no method {shown(call.method)}: ask server reflection what there is")
    yield b""  # makes it a generator


# Of the four kinds of methods, only this one waits for no message, so it refuses clients of every kind at once.
_NO_METHOD: Handler = grpc.stream_stream_rpc_method_handler(_refuse_method, bytes, bytes)


def _is_instrumented() -> bool:
    """Return whether instrumentation wraps the methods: OpenTelemetry's and Sentry's iterate over responses."""
    original: Any = sys.modules["grpc.aio._server"]
    return grpc.aio.server is not original.server


def _failure(context: Context, call: Call, error: Exception) -> tuple[grpc.StatusCode, str, Metadata]:
    """Return the arguments of `abort` for an error, and set the call's status."""
    if isinstance(error, grpc.aio.AbortError):  # the method has aborted itself
        number: Any = context.code()  # an int, unlike the stubs say
        call.code, call.message = _CODE_NAMES.get(number, grpc.StatusCode.UNKNOWN.name), str(context.details())
        raise error
    if isinstance(error, UnauthenticatedError):
        call.reason = error.reason
    code, message, metadata = client_status(error, call.method, call.request_id)
    call.code, call.message = code.name, message
    return code, message, metadata


def _ended_code(context: Context) -> str:
    """Return the status of a call that the transport ended: the client left, or the deadline passed."""
    remaining_s: float | None = context.time_remaining()
    expired = remaining_s is not None and remaining_s <= 0
    return (grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED).name
