"""One gRPC call that streams: its messages with a limit for each wait, which gRPC has only for whole calls.

`OpenStream` blocks, and `AsyncOpenStream` is for asyncio. `Requests` and `AsyncRequests` pass on the requests of a call
that sends a stream.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

import grpc

from ganserve._calls.hidden_call import HiddenCall
from ganserve._errors import GanserveError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from ganserve._calls.async_transport import AsyncTransport
    from ganserve._calls.tracing import Headers
    from ganserve._calls.transport import Transport


class Requests:
    """The requests of a call, which a thread of gRPC's waits for."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def put(self, request: Message | None) -> None:
        """Send a request; None: there are no more."""
        self._queue.put(request)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        if (request := self._queue.get()) is None:
            raise StopIteration
        return request


class AsyncRequests:
    """The requests of a call, which a task of gRPC's waits for."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()

    def put(self, request: Message | None) -> None:
        """Send a request; None: there are no more."""
        self._queue.put_nowait(request)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if (request := await self._queue.get()) is None:
            raise StopAsyncIteration
        return request


class OpenStream:
    """A call that runs, of a client that blocks."""

    def __init__(
        self, transport: Transport, method: Any, request: Message | Requests, request_id: str, headers: Headers
    ) -> None:
        """Start the call, with its only request or with all of them."""
        self._transport = transport
        self._requests = request if isinstance(request, Requests) else None
        rpc = transport.start(method, request, request_id, headers)
        self._rpc: Any = rpc if hasattr(rpc, "cancel") else HiddenCall(rpc)
        self._expired = threading.Event()
        _open.add(self)

    def keep_call(self) -> None:
        """Let nothing end the call's object: its destructor takes a lock."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._rpc))

    def read(self, left_s: float | None) -> Any:
        """Return the next message, or None at the end; after `left_s`, cancel the call and raise TimeoutError."""
        timer = None
        if left_s is not None:
            timer = threading.Timer(left_s, self._expire)
            timer.daemon = True
            timer.start()
        try:
            return next(self._rpc, None)
        except grpc.RpcError as error:
            if self._expired.is_set():
                raise TimeoutError from error
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _expire(self) -> None:
        self._expired.set()
        self._rpc.cancel()

    def cancel(self) -> None:
        """End the call; do nothing if it has ended, or in a fork."""
        if not self._transport.forked:
            if not self._transport.closed:  # which ended it; at Python's exit, another cancel could wait for ever
                self._rpc.cancel()
            if self._requests is not None:
                self._requests.put(None)  # ends gRPC's thread

    drop = cancel


_open: weakref.WeakSet[OpenStream] = weakref.WeakSet()


@atexit.register
def _leave_open_calls() -> None:
    """Leave calls that still run to the process's end.

    After this, Python stops gRPC's threads wherever they are. One that holds the lock of a call would keep the call's
    destructor, and with it the process, waiting for ever.
    """
    for stream in list(_open):
        stream.keep_call()


class AsyncOpenStream:
    """A call that runs, of a client for asyncio."""

    def __init__(
        self,
        transport: AsyncTransport,
        method: Any,
        request: Message | AsyncRequests,
        request_id: str,
        headers: Headers,
    ) -> None:
        """Start the call; see `OpenStream`."""
        self._transport = transport
        self._requests = request if isinstance(request, AsyncRequests) else None
        self._request_id = request_id
        self._rpc = method(request, metadata=transport.metadata(request_id, headers))
        self._loop = asyncio.get_running_loop()

    async def read(self, left_s: float | None) -> Any:
        """Return the next message, or None at the end; raise TimeoutError after `left_s`."""
        if asyncio.get_running_loop() is not self._loop:
            raise GanserveError("this stream belongs to another event loop: use it where it began")
        try:
            async with asyncio.timeout(left_s):
                message = await self._rpc.read()
        except asyncio.CancelledError:
            self._transport.raise_if_closed("stream", self._request_id)
            raise
        return None if message is grpc.aio.EOF else message

    def cancel(self) -> None:
        """End the call; do nothing if it has ended."""
        self._rpc.cancel()
        if self._requests is not None:
            self._requests.put(None)  # ends gRPC's task

    def drop(self) -> None:
        """End the call from the garbage collector, which runs in any thread; gRPC keeps a call that is not read."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.cancel)
