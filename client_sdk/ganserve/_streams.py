"""Streams of samples, blocking and asyncio."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Self

import grpc

from ganserve._errors import DeadlineExceeded, RequestCancelled
from ganserve._transport import new_request_id

if TYPE_CHECKING:
    from ganserve._batch import SampleBatch
    from ganserve._calls import StreamCall
    from ganserve._transport import AsyncTransport, Transport


def _late(call: StreamCall, request_id: str) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"no batch came within {call.timeout_s:g} s: allow more (timeout_s), or ask for smaller ones (chunk_size)",
        code="DEADLINE_EXCEEDED",
        request_id=request_id,
    )


class SampleStream(Iterator["SampleBatch"]):
    """Batches of samples, in order, as they arrive; made by `Client.stream`.

    The call starts with the first batch that is asked for. It ends with the last batch, with `close()`, at the end of a
    with block, or when the stream is dropped (a loop left by `break`). A stream belongs to one thread.
    """

    def __init__(self, transport: Transport, call: StreamCall) -> None:
        self._transport = transport
        self._call = call
        self._request_id = new_request_id()
        self._rpc: Any = None
        self._over = False
        self._expired = threading.Event()

    @property
    def seed(self) -> int:
        """The seed that is used: the one that was given, or the one that was drawn."""
        return self._call.seed

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> SampleBatch:
        """The next batch.

        Raises:
            DeadlineExceeded: It did not come within `timeout_s`. The time that the caller takes between batches does
                not count.
            GanserveError: The call failed.
        """
        if self._over:
            raise StopIteration
        if self._rpc is None:
            self._rpc = self._transport.stream(self._call, self._request_id)
        timer = self._start_timer()
        try:
            response = next(self._rpc)
        except StopIteration:
            self._over = True
            self._call.finish()
            raise
        except grpc.RpcError as error:
            self._over = True
            if self._expired.is_set():
                raise _late(self._call, self._request_id) from error
            raise self._transport.failure(error, self._request_id, self._call.timeout_s) from error
        except BaseException:
            self.close()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return self._accept(response)

    def close(self) -> None:
        """Ends the call; the stream gives no more batches. Again: nothing."""
        self._over = True
        if self._rpc is not None:
            self._rpc.cancel()

    def __del__(self) -> None:
        if not self._over:
            self.close()

    def _accept(self, response: Any) -> SampleBatch:
        try:
            return self._call.accept(response)
        except BaseException:
            self.close()
            raise

    def _start_timer(self) -> threading.Timer | None:
        """Bounds the wait for one batch; gRPC's own deadlines are of whole calls."""
        if math.isinf(self._call.timeout_s):
            return None
        timer = threading.Timer(self._call.timeout_s, self._expire)
        timer.daemon = True
        timer.start()
        return timer

    def _expire(self) -> None:
        self._expired.set()
        self._rpc.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncSampleStream(AsyncIterator["SampleBatch"]):
    """Batches of samples, in order, as they arrive; made by `AsyncClient.stream`.

    The call starts with the first batch that is asked for. It ends with the last batch, with `close()`, at the end of
    an async with block, or when the stream is dropped (a loop left by `break`). A stream belongs to one task.
    """

    def __init__(self, transport: AsyncTransport, call: StreamCall) -> None:
        self._transport = transport
        self._call = call
        self._request_id = new_request_id()
        self._rpc: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False

    @property
    def seed(self) -> int:
        """The seed that is used: the one that was given, or the one that was drawn."""
        return self._call.seed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SampleBatch:
        """The next batch.

        Raises:
            DeadlineExceeded: It did not come within `timeout_s`. The time that the caller takes between batches does
                not count.
            GanserveError: The call failed.
        """
        if self._over:
            raise StopAsyncIteration
        if self._rpc is None:
            self._rpc = self._transport.stream(self._call, self._request_id)
            self._loop = asyncio.get_running_loop()
        timeout_s = None if math.isinf(self._call.timeout_s) else self._call.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._rpc.read()
        except TimeoutError as error:
            await self.close()
            raise _late(self._call, self._request_id) from error
        except grpc.RpcError as error:
            self._over = True
            raise self._transport.failure(error, self._request_id, self._call.timeout_s) from error
        except asyncio.CancelledError as error:
            await self.close()
            if self._transport.cancelled_by_close():
                raise RequestCancelled(
                    "the client was closed during this stream", code="CANCELLED", request_id=self._request_id
                ) from error
            raise
        if response is grpc.aio.EOF:
            self._over = True
            self._call.finish()
            raise StopAsyncIteration
        try:
            return self._call.accept(response)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends the call; the stream gives no more batches. Again: nothing."""
        self._over = True
        if self._rpc is not None:
            self._rpc.cancel()

    def __del__(self) -> None:
        # grpc.aio keeps a call alive that nobody reads. This may be another thread: the garbage collector runs in any.
        if not self._over and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._rpc.cancel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
