"""Streams of samples and of scores for asyncio."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import grpc

from ganserve._calls.retries import Attempts
from ganserve._calls.streams import late
from ganserve._calls.transport import closed_during, new_request_id
from ganserve._errors import GanserveError
from ganserve._results.models import ModelInfo

if TYPE_CHECKING:
    from ganserve._calls.rotation import Endpoint
    from ganserve._calls.stream_calls import SampleStreamCall, ScoreStreamCall
    from ganserve._calls.transport import AsyncTransport
    from ganserve._results.batch import SampleBatch  # noqa: F401 - ruff does not see it in the base class's brackets
    from ganserve._results.scores import Scores  # noqa: F401 - likewise
    from ganserve._types import ImagesLike
    from ganserve.v1 import gan_service_pb2

ResultT = TypeVar("ResultT")


class _AsyncStream(AsyncIterator[ResultT], ABC, Generic[ResultT]):
    """What both streams have in common: one result at a time, over as many connections as that takes."""

    def __init__(self, transport: AsyncTransport, call: SampleStreamCall | ScoreStreamCall) -> None:
        self._transport = transport
        self._call = call
        self._request_id = new_request_id()
        self._endpoint: Endpoint | None = None
        self._rpc: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False

    @abstractmethod
    async def _open(self, method: Any) -> Any:
        """Start the call for what is still to come."""

    @abstractmethod
    async def _before_reading(self) -> bool:
        """Prepare the next result; whether one is still to come."""

    def __aiter__(self) -> Self:
        return self

    if not TYPE_CHECKING:  # which finds the mistake by itself

        def __iter__(self) -> Any:
            raise TypeError(f"{type(self).__name__} belongs to asyncio: use `async for`, or a Client's stream")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._call.progress})"

    async def __anext__(self) -> ResultT:
        """The next result, in order, however often its connection breaks on the way.

        Raises:
            DeadlineExceeded: It did not come within `timeout_s`. The time that the caller takes between results does
                not count.
            GanserveError: The call failed.
        """
        if self._over:
            raise StopAsyncIteration
        self._loop = asyncio.get_running_loop()
        try:
            if not await self._before_reading():
                return self._end()
            response = await self._receive()
            if response is None:
                return self._end()
            if self._call.slow:
                return cast("ResultT", await asyncio.to_thread(self._call.accept, response))
            return cast("ResultT", self._call.accept(response))
        except asyncio.CancelledError as error:
            await self.close()
            self._transport.raise_if_closed("stream", self._request_id, error)
            raise
        except BaseException:
            await self.close()
            raise

    def _end(self) -> ResultT:
        self._call.finish()
        self._over = True
        raise StopAsyncIteration

    async def _receive(self) -> Any:
        """The next message; None at the end."""
        # A stream that never began fails soon; one that did has a caller who waits for the rest.
        attempts = Attempts(self._call.timeout_s, None if self._call.begun else self._transport.config.max_attempts)
        while True:
            failure: GanserveError
            try:
                async with asyncio.timeout(attempts.left_s):
                    if self._rpc is None:
                        endpoint = self._endpoint = await self._transport.endpoint(attempts.left_s)
                        self._rpc = await self._open(getattr(endpoint.stub, self._call.method))
                    response = await self._rpc.read()
            except TimeoutError as error:
                failure = late(self._call.timeout_s, self._request_id)
                failure.__cause__ = error
            except grpc.RpcError as error:
                failure = self._failure(error)
            else:
                if response is grpc.aio.EOF:
                    return None
                self._transport.answered(cast("Endpoint", self._endpoint))
                return response
            self._hang_up()
            if self._call.complete:  # only the farewell is missing
                return None
            await self._pause(attempts, failure)

    def _failure(self, error: grpc.RpcError) -> GanserveError:
        if self._transport.closed:
            failure: GanserveError = closed_during("stream", self._request_id)
            failure.__cause__ = error
            return failure
        endpoint = cast("Endpoint", self._endpoint)
        return self._transport.failure(endpoint, error, self._request_id, self._call.timeout_s)

    async def _pause(self, attempts: Attempts, failure: GanserveError) -> None:
        try:
            await self._transport.pause(cast("Endpoint", self._endpoint), attempts, failure, self._call.method)
        except GanserveError as given_up:
            self._explain(given_up)
            raise

    def _explain(self, failure: GanserveError) -> None:
        """Add to the error that ends the stream what helps the caller to go on."""

    def _hang_up(self) -> None:
        rpc, self._rpc = self._rpc, None
        if rpc is not None:
            rpc.cancel()

    async def close(self) -> None:
        """End the call; the stream gives nothing more. Again: nothing."""
        self._over = True
        if self._rpc is not None:
            self._rpc.cancel()

    def __del__(self) -> None:
        # grpc.aio keeps a call alive that nobody reads. This may be another thread: the garbage collector runs in any.
        if not self._over and self._rpc is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._rpc.cancel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


class AsyncSampleStream(_AsyncStream["SampleBatch"]):
    """Batches of samples, in order, as they arrive; made by `AsyncClient.stream`.

    The call starts with the first batch that is asked for. It ends with the last batch, with `close()`, at the end of
    an async with block, or when the stream is dropped (a loop left by `break`). A stream belongs to one task.

    When its connection breaks, it goes on as `SampleStream` does: nothing is lost, nothing comes twice.
    """

    _call: SampleStreamCall

    @property
    def seed(self) -> int:
        """The seed that is used: the one that was given, or the one that was drawn."""
        return self._call.seed

    async def _before_reading(self) -> bool:
        if (describe := self._call.describe()) is not None:
            self._call.described(await self._transport.unary(describe))
        return True

    async def _open(self, method: Any) -> Any:
        return method(self._call.remaining(), metadata=self._transport.metadata(self._request_id))

    def _explain(self, failure: GanserveError) -> None:
        self._call.explain(failure)


class AsyncScoreStream(_AsyncStream["Scores"]):
    """The scores of each item, in order; made by `AsyncClient.score_stream`.

    It reads ahead, and goes on when its connection breaks, as `ScoreStream` does. A stream belongs to one task, which
    reads the items, too; files are read in another thread.
    """

    _call: ScoreStreamCall

    async def _before_reading(self) -> bool:
        call = self._call
        while call.wants_more:
            try:
                request = await self._read()
            except Exception as error:  # noqa: BLE001 - its turn comes after the results of the items before it
                call.exhausted, call.failure = True, error
            else:
                if request is None:
                    call.exhausted = True
                else:
                    await self._write(request)
        if call.complete and call.failure is not None:
            raise call.failure
        if call.exhausted and self._rpc is not None:
            await self._done_writing()
        return not call.complete or self._rpc is not None

    async def _read(self) -> gan_service_pb2.StreamScoresRequest | None:
        """Read the next item; None: there is none."""
        items = self._call.items
        item: ImagesLike | None = next(items, None) if isinstance(items, Iterator) else await anext(items, None)
        if item is None:
            return None
        inputs = await asyncio.to_thread(self._call.read, item)
        info = self._call.describe(inputs)
        return self._call.add(inputs, info if isinstance(info, ModelInfo) else await self._transport.unary(info))

    async def _write(self, request: gan_service_pb2.StreamScoresRequest) -> None:
        """Send a request, if there is a connection; why it cannot be sent is told by the next read."""
        if self._rpc is not None:
            with suppress(grpc.RpcError, asyncio.InvalidStateError):
                await self._rpc.write(request)

    async def _done_writing(self) -> None:
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._rpc.done_writing()

    async def _open(self, method: Any) -> Any:
        self._rpc = method(metadata=self._transport.metadata(self._request_id))
        for request in self._call.remaining():
            await self._write(request)
        if self._call.exhausted:
            await self._done_writing()
        return self._rpc
