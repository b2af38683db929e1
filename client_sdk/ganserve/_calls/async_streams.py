"""Streams of samples and of scores for asyncio; they continue on a new call when their connection breaks.

`scripts/generate_sync_client.py` makes `streams.py` of this file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, cast

import grpc

from ganserve._calls.failures import closed_during
from ganserve._calls.open_streams import AsyncOpenStream, AsyncRequests
from ganserve._calls.retries import Attempts
from ganserve._calls.tracing import NO_SPAN
from ganserve._calls.transport_base import new_request_id
from ganserve._calls.waiting import END, AsyncResults, async_in_thread, async_next_item
from ganserve._errors import DeadlineExceeded, GanserveError
from ganserve._results.models import ModelInfo

if TYPE_CHECKING:
    from ganserve._calls.async_transport import AsyncTransport
    from ganserve._calls.rotation import Endpoint
    from ganserve._calls.stream_calls import SampleStreamCall, ScoreStreamCall
    from ganserve._results.batch import SampleBatch  # noqa: F401 - ruff does not see it in the base class's brackets
    from ganserve._results.scores import Scores  # noqa: F401 - likewise
    from ganserve.v1 import gan_service_pb2

ResultT = TypeVar("ResultT")


class _AsyncStream(AsyncResults[ResultT], ABC, Generic[ResultT]):
    """Give one result at a time, from one gRPC call or several."""

    def __init__(self, transport: AsyncTransport, call: SampleStreamCall | ScoreStreamCall) -> None:
        self._transport = transport
        self._call = call
        self._request_id = new_request_id()
        self._endpoint: Endpoint | None = None
        self._open: AsyncOpenStream | None = None
        self._span = NO_SPAN
        self._over = False

    @abstractmethod
    async def _prepare(self) -> bool:
        """Prepare the next result; return whether there is one."""

    @abstractmethod
    def _start(self, method: Any) -> AsyncOpenStream:
        """Start a call for the missing results."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ResultT:
        """Return the next result, in order, even if the connection breaks.

        Raises:
            DeadlineExceeded: It did not come within `timeout_s`.
            GanserveError: The call failed.
        """
        if self._over:
            raise StopAsyncIteration
        if self._span is NO_SPAN:
            self._span = self._transport.tracing.begin(self._call.method)
        try:
            response = await self._receive() if await self._prepare() else None
            if response is not None:
                result = await self._transport.parse(self._call.parse, response, slow=self._call.slow)
                return cast("ResultT", result)
            self._call.finish()
        except BaseException as error:
            self._span.end(error)
            await self.close()
            if isinstance(error, GanserveError):  # The caller's line and the reason, without the way through the SDK.
                raise error.with_traceback(None) from error.__cause__
            raise
        self._span.end()
        self._over = True
        raise StopAsyncIteration

    async def _receive(self) -> Any:
        """Return the next message, or None at the end."""
        # A stream without a first result fails soon; a later failure is retried for longer.
        attempts = Attempts(self._call.timeout_s, None if self._call.begun else self._transport.config.max_attempts)
        while True:
            endpoint = self._endpoint
            try:
                if self._open is None or endpoint is None:
                    endpoint = self._endpoint = await self._transport.endpoint(attempts.left_s)
                    self._open = self._start(getattr(endpoint.stub, self._call.method))
                response = await self._open.read(self._transport.share_s(attempts))
            except (TimeoutError, grpc.RpcError) as error:
                failure = self._failure(error)
            else:
                if response is not None and not response.ListFields():
                    continue  # Ray Serve's proxy sends an empty message before the status of a failed stream
                if response is not None:
                    self._transport.answered(endpoint)
                return response
            self._hang_up()
            if self._call.complete:  # only the end of the stream was missing
                return None
            try:
                await self._transport.pause(cast("Endpoint", endpoint), attempts, failure, self._call.method)
            except GanserveError as given_up:
                self._call.explain(given_up)
                raise

    def _failure(self, error: TimeoutError | grpc.RpcError) -> GanserveError:
        failure: GanserveError
        if isinstance(error, TimeoutError):
            failure = DeadlineExceeded(
                f"no batch came within {self._call.timeout_s:g} s: raise timeout_s, or request smaller batches "
                f"(request id {self._request_id})",
                code="DEADLINE_EXCEEDED",
                request_id=self._request_id,
            )
        elif self._transport.closed:
            failure = closed_during("stream", self._request_id)
        else:
            endpoint = cast("Endpoint", self._endpoint)
            return self._transport.failure(endpoint, error, self._request_id, self._call.timeout_s)
        return failure

    def _hang_up(self) -> None:
        if self._open is not None:
            self._open.cancel()
            self._open = None

    async def close(self) -> None:
        """End the call and the stream; do nothing if they have ended."""
        self._over = True
        self._span.end()
        if self._open is not None:
            self._open.cancel()

    def __del__(self) -> None:
        if not self._over and self._open is not None:
            self._span.end()
            self._open.drop()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: it belongs to a connection")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._call.progress})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


class AsyncSampleStream(_AsyncStream["SampleBatch"]):
    """Batches of samples, in order, as they arrive; made by `AsyncClient.stream`.

    The call starts with the first batch. It ends with the last batch, with `close()`, at the end of an async with
    block, or when the stream is dropped (a loop left by `break`). A stream belongs to one task.

    When the connection breaks, or the server ends it, the stream continues from the next sample, at this server or
    another, with the same seed and version of the model, so no sample is lost or repeated.
    """

    _call: SampleStreamCall

    @property
    def seed(self) -> int:
        """The seed that is used: the given one, or the one that was drawn."""
        return self._call.seed

    async def _prepare(self) -> bool:
        if (describe := self._call.describe()) is not None:
            self._call.described(await self._transport.unary(describe))
        if not self._call.begun:
            await self._transport.check_size(self._call.remaining(), self._call.timeout_s)
        return True

    def _start(self, method: Any) -> AsyncOpenStream:
        return AsyncOpenStream(self._transport, method, self._call.remaining(), self._request_id, self._span.headers)


class AsyncScoreStream(_AsyncStream["Scores"]):
    """The scores of each item, in order; made by `AsyncClient.score_stream`.

    The stream reads and sends up to 8 items (16 MiB) ahead of the scores, and reads files in another thread. If reading
    an item fails, the error comes after the scores of the items before it. When the connection breaks, the stream sends
    the items without scores again. A stream belongs to one task, which reads the items, too.
    """

    _call: ScoreStreamCall
    _requests: AsyncRequests | None = None

    async def _prepare(self) -> bool:
        call = self._call
        while call.wants_more:
            try:
                request = await self._read()
            except Exception as error:  # noqa: BLE001 - raised after the results of the items before it
                call.exhausted, call.failure = True, error
            else:
                call.exhausted = request is None
                if request is not None and self._requests is not None:
                    self._requests.put(request)
        if call.complete and call.failure is not None:
            raise call.failure
        if call.exhausted and self._requests is not None:
            self._requests.put(None)
        return not call.complete or self._open is not None

    async def _read(self) -> gan_service_pb2.StreamScoresRequest | None:
        """Read the next item; None: there is none."""
        item = await async_next_item(self._call.items)
        if item is END:
            self._call.check_labels()
            return None
        inputs = await async_in_thread(self._call.read, item)
        info = self._call.describe(inputs)
        described = info if isinstance(info, ModelInfo) else await self._transport.unary(info)
        sent = self._call.request(inputs, described)
        await self._transport.check_size(sent[0], self._call.timeout_s)
        return self._call.add(sent)

    def _start(self, method: Any) -> AsyncOpenStream:
        self._requests = AsyncRequests()
        for request in self._call.remaining():
            self._requests.put(request)
        if self._call.exhausted:
            self._requests.put(None)
        return AsyncOpenStream(self._transport, method, self._requests, self._request_id, self._span.headers)

    def _hang_up(self) -> None:
        super()._hang_up()
        self._requests = None
