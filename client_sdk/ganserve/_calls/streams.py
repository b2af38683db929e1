# Generated from async_streams.py by scripts/generate_sync_client.py: edit that file, then `make generate`.
"""Streams of samples and of scores, blocking; they continue on a new call when their connection breaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, cast

import grpc

from ganserve._calls.failures import closed_during
from ganserve._calls.open_streams import OpenStream, Requests
from ganserve._calls.retries import Attempts
from ganserve._calls.tracing import NO_SPAN
from ganserve._calls.transport_base import new_request_id
from ganserve._calls.waiting import END, Results, in_thread, next_item
from ganserve._errors import DeadlineExceeded, GanserveError
from ganserve._results.models import ModelInfo

if TYPE_CHECKING:
    from ganserve._calls.rotation import Endpoint
    from ganserve._calls.stream_calls import SampleStreamCall, ScoreStreamCall
    from ganserve._calls.transport import Transport
    from ganserve._results.batch import SampleBatch  # noqa: F401 - ruff does not see it in the base class's brackets
    from ganserve._results.scores import Scores  # noqa: F401 - likewise
    from ganserve.v1 import gan_service_pb2

ResultT = TypeVar("ResultT")


class _Stream(Results[ResultT], ABC, Generic[ResultT]):
    """Give one result at a time, from one gRPC call or several."""

    def __init__(self, transport: Transport, call: SampleStreamCall | ScoreStreamCall) -> None:
        self._transport = transport
        self._call = call
        self._request_id = new_request_id()
        self._endpoint: Endpoint | None = None
        self._open: OpenStream | None = None
        self._span = NO_SPAN
        self._over = False

    @abstractmethod
    def _prepare(self) -> bool:
        """Prepare the next result; return whether there is one."""

    @abstractmethod
    def _start(self, method: Any) -> OpenStream:
        """Start a call for the missing results."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ResultT:
        """Return the next result, in order, even if the connection breaks.

        Raises:
            DeadlineExceeded: It did not come within `timeout_s`.
            GanserveError: The call failed.
        """
        if self._over:
            raise StopIteration
        if self._span is NO_SPAN:
            self._span = self._transport.tracing.begin(self._call.method)
        try:
            response = self._receive() if self._prepare() else None
            if response is not None:
                result = self._transport.parse(self._call.parse, response, slow=self._call.slow)
                return cast("ResultT", result)
            self._call.finish()
        except BaseException as error:
            self._span.end(error)
            self.close()
            if isinstance(error, GanserveError):  # The caller's line and the reason, without the way through the SDK.
                raise error.with_traceback(None) from error.__cause__
            raise
        self._span.end()
        self._over = True
        raise StopIteration

    def _receive(self) -> Any:
        """Return the next message, or None at the end."""
        # A stream without a first result fails soon; a later failure is retried for longer.
        attempts = Attempts(self._call.timeout_s, None if self._call.begun else self._transport.config.max_attempts)
        while True:
            endpoint = self._endpoint
            try:
                if self._open is None or endpoint is None:
                    endpoint = self._endpoint = self._transport.endpoint(attempts.left_s)
                    self._open = self._start(getattr(endpoint.stub, self._call.method))
                response = self._open.read(self._transport.share_s(attempts))
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
                self._transport.pause(cast("Endpoint", endpoint), attempts, failure, self._call.method)
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

    def close(self) -> None:
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class SampleStream(_Stream["SampleBatch"]):
    """Batches of samples, in order, as they arrive; made by `Client.stream`.

    The call starts with the first batch. It ends with the last batch, with `close()`, at the end of a with
    block, or when the stream is dropped (a loop left by `break`). A stream belongs to one thread.

    When the connection breaks, or the server ends it, the stream continues from the next sample, at this server or
    another, with the same seed and version of the model, so no sample is lost or repeated.
    """

    _call: SampleStreamCall

    @property
    def seed(self) -> int:
        """The seed that is used: the given one, or the one that was drawn."""
        return self._call.seed

    def _prepare(self) -> bool:
        if (describe := self._call.describe()) is not None:
            self._call.described(self._transport.unary(describe))
        if not self._call.begun:
            self._transport.check_size(self._call.remaining(), self._call.timeout_s)
        return True

    def _start(self, method: Any) -> OpenStream:
        return OpenStream(self._transport, method, self._call.remaining(), self._request_id, self._span.headers)


class ScoreStream(_Stream["Scores"]):
    """The scores of each item, in order; made by `Client.score_stream`.

    The stream reads and sends up to 8 items (16 MiB) ahead of the scores. If reading
    an item fails, the error comes after the scores of the items before it. When the connection breaks, the stream sends
    the items without scores again. A stream belongs to one thread, which reads the items, too.
    """

    _call: ScoreStreamCall
    _requests: Requests | None = None

    def _prepare(self) -> bool:
        call = self._call
        while call.wants_more:
            try:
                request = self._read()
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

    def _read(self) -> gan_service_pb2.StreamScoresRequest | None:
        """Read the next item; None: there is none."""
        item = next_item(self._call.items)
        if item is END:
            self._call.check_labels()
            return None
        inputs = in_thread(self._call.read, item)
        info = self._call.describe(inputs)
        described = info if isinstance(info, ModelInfo) else self._transport.unary(info)
        sent = self._call.request(inputs, described)
        self._transport.check_size(sent[0], self._call.timeout_s)
        return self._call.add(sent)

    def _start(self, method: Any) -> OpenStream:
        self._requests = Requests()
        for request in self._call.remaining():
            self._requests.put(request)
        if self._call.exhausted:
            self._requests.put(None)
        return OpenStream(self._transport, method, self._requests, self._request_id, self._span.headers)

    def _hang_up(self) -> None:
        super()._hang_up()
        self._requests = None
