"""Streams of samples and of scores, blocking."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import grpc

from ganserve._calls.retries import Attempts
from ganserve._calls.transport import closed_during, new_request_id
from ganserve._errors import DeadlineExceeded, GanserveError
from ganserve._results.models import ModelInfo

if TYPE_CHECKING:
    from ganserve._calls.rotation import Endpoint
    from ganserve._calls.stream_calls import SampleStreamCall, ScoreStreamCall
    from ganserve._calls.transport import Transport
    from ganserve._results.batch import SampleBatch  # noqa: F401 - ruff does not see it in the base class's brackets
    from ganserve._results.scores import Scores  # noqa: F401 - likewise
    from ganserve._types import ImagesLike
    from ganserve.v1 import gan_service_pb2

ResultT = TypeVar("ResultT")


def late(timeout_s: float, request_id: str) -> DeadlineExceeded:
    """The error of a stream that gave nothing in time."""
    return DeadlineExceeded(
        f"no batch came within {timeout_s:g} s: allow more (timeout_s), or ask for smaller ones "
        f"(request id {request_id})",
        code="DEADLINE_EXCEEDED",
        request_id=request_id,
    )


class _Stream(Iterator[ResultT], ABC, Generic[ResultT]):
    """What both streams have in common: one result at a time, over as many connections as that takes."""

    def __init__(self, transport: Transport, call: SampleStreamCall | ScoreStreamCall) -> None:
        self._transport = transport
        self._call = call
        self._request_id = new_request_id()
        self._endpoint: Endpoint | None = None
        self._rpc: Any = None
        self._over = False
        self._expired = threading.Event()

    @abstractmethod
    def _open(self, method: Any) -> Any:
        """Start the call for what is still to come."""

    @abstractmethod
    def _before_reading(self) -> bool:
        """Prepare the next result; whether one is still to come."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ResultT:
        """The next result, in order, however often its connection breaks on the way.

        Raises:
            DeadlineExceeded: It did not come within `timeout_s`. The time that the caller takes between results does
                not count.
            GanserveError: The call failed.
        """
        if self._over:
            raise StopIteration
        try:
            if not self._before_reading():
                return self._end()
            response = self._receive()
            if response is None:
                return self._end()
            return cast("ResultT", self._call.accept(response))
        except BaseException:
            self.close()
            raise

    def _end(self) -> ResultT:
        self._call.finish()
        self._over = True
        raise StopIteration

    def _receive(self) -> Any:
        """The next message; None at the end."""
        # A stream that never began fails soon; one that did has a caller who waits for the rest.
        attempts = Attempts(self._call.timeout_s, None if self._call.begun else self._transport.config.max_attempts)
        while True:
            self._expired.clear()
            timer = self._start_timer(attempts.left_s)
            try:
                if self._rpc is None:
                    endpoint = self._endpoint = self._transport.endpoint(attempts.left_s)
                    self._rpc = self._open(getattr(endpoint.stub, self._call.method))
                    if self._expired.is_set():  # before there was anything to cancel
                        self._rpc.cancel()
                response = next(self._rpc)
            except StopIteration:
                return None
            except grpc.RpcError as error:
                failure = self._failure(error)
            else:
                self._transport.answered(cast("Endpoint", self._endpoint))
                return response
            finally:
                if timer is not None:
                    timer.cancel()
            self._hang_up()
            if self._call.complete:  # only the farewell is missing
                return None
            self._pause(attempts, failure)

    def _failure(self, error: grpc.RpcError) -> GanserveError:
        if self._expired.is_set():
            failure: GanserveError = late(self._call.timeout_s, self._request_id)
            failure.__cause__ = error
            return failure
        if self._transport.closed:
            failure = closed_during("stream", self._request_id)
            failure.__cause__ = error
            return failure
        endpoint = cast("Endpoint", self._endpoint)
        return self._transport.failure(endpoint, error, self._request_id, self._call.timeout_s)

    def _pause(self, attempts: Attempts, failure: GanserveError) -> None:
        try:
            self._transport.pause(cast("Endpoint", self._endpoint), attempts, failure, self._call.method)
        except GanserveError as given_up:
            self._explain(given_up)
            raise

    def _explain(self, failure: GanserveError) -> None:
        """Add to the error that ends the stream what helps the caller to go on."""

    def _hang_up(self) -> None:
        rpc, self._rpc = self._rpc, None
        if rpc is not None:
            rpc.cancel()

    def close(self) -> None:
        """End the call; the stream gives nothing more. Again: nothing."""
        self._over = True
        if self._rpc is not None and not self._transport.forked:
            self._rpc.cancel()

    def __del__(self) -> None:
        if not self._over:
            self.close()

    def _start_timer(self, seconds: float | None) -> threading.Timer | None:
        """Bounds the wait for one message; gRPC's own deadlines are of whole calls."""
        if seconds is None:
            return None
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        return timer

    def _expire(self) -> None:
        self._expired.set()
        if self._rpc is not None:
            self._rpc.cancel()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._call.progress})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class SampleStream(_Stream["SampleBatch"]):
    """Batches of samples, in order, as they arrive; made by `Client.stream`.

    The call starts with the first batch that is asked for. It ends with the last batch, with `close()`, at the end of a
    with block, or when the stream is dropped (a loop left by `break`). A stream belongs to one thread.

    When its connection breaks, or its server ends it, it goes on from the next sample, at this server or another, with
    the seed that it has and the version of the model that gave the first batch: nothing is lost, nothing comes twice.
    """

    _call: SampleStreamCall

    @property
    def seed(self) -> int:
        """The seed that is used: the one that was given, or the one that was drawn."""
        return self._call.seed

    def _before_reading(self) -> bool:
        if (describe := self._call.describe()) is not None:
            self._call.described(self._transport.unary(describe))
        return True

    def _open(self, method: Any) -> Any:
        return self._transport.start(method, self._call.remaining(), self._request_id)

    def _explain(self, failure: GanserveError) -> None:
        self._call.explain(failure)


class ScoreStream(_Stream["Scores"]):
    """The scores of each item, in order; made by `Client.score_stream`.

    Up to 8 items (16 MiB) are read and sent ahead of the one whose scores are due. Where reading one fails, the scores
    of those before it come first, then the error. A stream belongs to one thread, in which the items are read, too.

    When its connection breaks, what has no scores yet is sent again.
    """

    _call: ScoreStreamCall

    def __init__(self, transport: Transport, call: ScoreStreamCall) -> None:
        super().__init__(transport, call)
        self._requests: queue.SimpleQueue[gan_service_pb2.StreamScoresRequest | None] | None = None

    def _before_reading(self) -> bool:
        call = self._call
        while call.wants_more:
            try:
                request = self._read()
            except Exception as error:  # noqa: BLE001 - its turn comes after the results of the items before it
                call.exhausted, call.failure = True, error
            else:
                if request is None:
                    call.exhausted = True
                elif self._requests is not None:
                    self._requests.put(request)
        if call.complete and call.failure is not None:
            raise call.failure
        if call.exhausted and self._requests is not None:
            self._requests.put(None)
        return not call.complete or self._rpc is not None

    def _read(self) -> gan_service_pb2.StreamScoresRequest | None:
        """Read the next item; None: there is none."""
        item = next(cast("Iterator[ImagesLike]", self._call.items), None)
        if item is None:
            return None
        inputs = self._call.read(item)
        info = self._call.describe(inputs)
        return self._call.add(inputs, info if isinstance(info, ModelInfo) else self._transport.unary(info))

    def _open(self, method: Any) -> Any:
        requests: queue.SimpleQueue[gan_service_pb2.StreamScoresRequest | None] = queue.SimpleQueue()
        for request in self._call.remaining():
            requests.put(request)
        if self._call.exhausted:
            requests.put(None)
        self._requests = requests
        return self._transport.start(method, iter(requests.get, None), self._request_id)

    def _hang_up(self) -> None:
        super()._hang_up()
        self._end_requests()

    def close(self) -> None:
        """End the call; the stream gives nothing more. Again: nothing."""
        super().close()
        self._end_requests()

    def _end_requests(self) -> None:
        """Lets go the thread of gRPC's that waits for the next request."""
        requests, self._requests = self._requests, None
        if requests is not None:
            requests.put(None)
