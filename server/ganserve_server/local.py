"""The service inside a program's own process, without a port: what the SDK's `Client.local` calls.

An adapter on the core beside `grpc.services`, whose methods it shares. It has what the SDK wants of gRPC: stubs whose
methods take the same messages, give the same ones and fail with the same statuses, so that above them nothing differs.
The service runs on an event loop in a thread of its own, and callers of any thread, or of any event loop, pass it
messages as they are: nothing is serialised.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
import weakref
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ganserve_server.api.grpc.error_status import client_status
from ganserve_server.api.grpc.gan_service import GanServicer
from ganserve_server.errors import FieldViolation, InvalidRequestError, ProviderError, StartupError
from ganserve_server.monitoring.calls import REQUEST_ID_KEY
from ganserve_server.requests.limits import MAX_PAYLOAD_BYTES, Limits
from ganserve_server.service import GanService
from ganserve_server.settings import ServerConfig
from ganserve_server.startup import load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator
    from pathlib import Path

    from ganserve_server.models.repository import Repository

    Metadata = Iterable[tuple[str, str | bytes]]

ResultT = TypeVar("ResultT")
_UNARY = ("Sample", "Score", "ListModels", "GetModel")
_log = logging.getLogger(__name__)


class LocalError(grpc.RpcError):
    """A call that failed, as gRPC's clients raise it; `__cause__` is the core's error."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        super().__init__(code, details)
        self._code, self._details, self._metadata = code, details, tuple(metadata)

    def code(self) -> grpc.StatusCode:
        """The status."""
        return self._code

    def details(self) -> str:
        """The status's message."""
        return self._details

    def trailing_metadata(self) -> Any:
        """What came with the status: google.rpc details, and the request's id."""
        return self._metadata


class LocalService:
    """The models of a folder and a thread that answers calls; loading begins at once.

    A service that is dropped ends by itself, without being waited for.
    """

    def __init__(self, models: Path, provider: str) -> None:
        """Start the thread.

        Args:
            models: The folder of model packages.
            provider: Where models run, by `ServerConfig.provider`.
        """
        config = ServerConfig(models=models, provider=provider)  # type: ignore[arg-type]  # checked by the SDK
        self._host = _Host(config)
        self._end = weakref.finalize(self, self._host.end)
        self._end.atexit = False
        self.stub = BlockingStub(self._host)
        """Its methods wait."""
        self.async_stub = AsyncStub(self._host)
        """Its methods are awaited, on any event loop."""

    def wait(self) -> None:
        """Wait until the models are loaded.

        Raises:
            StartupError: There is nothing to serve.
        """
        self._host.submit(self._host.loaded()).result()

    def close(self) -> None:
        """End calls that are under way, waits until the model calls that run are done, and frees the models."""
        self._end.detach()
        self._host.end()
        self._host.thread.join()

    async def close_async(self) -> None:
        """As `close`; the event loop lives on meanwhile."""
        await asyncio.to_thread(self.close)


class _Host:
    """The event loop and what lives on it; knows nothing of who calls."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._loading: asyncio.Task[tuple[Repository, GanServicer]] | None = None
        self.ending = False
        """Whether calls are turned away, and those that run are being ended."""
        self.thread = threading.Thread(target=self._run, name="ganserve-local", daemon=True)
        self.thread.start()

    def submit(self, work: Coroutine[Any, Any, ResultT]) -> Future[ResultT]:
        """Has a coroutine run on the loop; for any thread.

        Raises:
            LocalError: The service was closed.
        """
        with self._lock:
            if self.ending:
                work.close()
                raise closed()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call_soon(self, callback: Any, *arguments: object) -> None:
        """Has a function called on the loop; for any thread, the garbage collector's too. After the end: nothing."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    def end(self) -> None:
        """Begins to end; for any thread. Again: nothing."""
        self.ending = True  # a caller that does not see this yet has its work cancelled, like those that run
        self.call_soon(self._loop.stop)

    async def loaded(self) -> None:
        """Wait until the models are loaded; raises why they cannot be."""
        await self.servicer()

    async def servicer(self) -> GanServicer:
        """The service's methods, once the models are loaded."""
        assert self._loading is not None, "it starts with the loop"
        return (await asyncio.shield(self._loading))[1]

    async def _load(self) -> tuple[Repository, GanServicer]:
        repository, report = await asyncio.to_thread(load, self._config)
        for line in report.splitlines():
            _log.info("%s", line)
        if self._config.poll_s:
            repository.watch(self._config.poll_s)
        return repository, GanServicer(GanService(repository, Limits(max_response_bytes=MAX_PAYLOAD_BYTES)))

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        self._loading = loop.create_task(self._load())
        try:
            loop.run_forever()
            with self._lock:  # whoever was let in has scheduled its work by now
                self.ending = True
            loop.run_until_complete(self._shut_down())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    async def _shut_down(self) -> None:
        assert self._loading is not None, "it starts with the loop"
        await asyncio.sleep(0)  # what was scheduled becomes tasks
        tasks = asyncio.all_tasks() - {asyncio.current_task(), self._loading}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(Exception):  # why it could not be loaded was told to those who asked
            repository, _ = await self._loading
            await asyncio.to_thread(repository.close)


class BlockingStub:
    """The methods of GanService as gRPC's blocking stub has them."""

    def __init__(self, host: _Host) -> None:
        self._host = host
        for method in _UNARY:
            setattr(self, method, functools.partial(self._unary, method))

    def _unary(self, method: str, request: object, *, timeout: float | None = None, metadata: Metadata = ()) -> Any:
        future = self._host.submit(_answer(self._host, method, request, timeout, metadata))
        try:
            return future.result()
        except BaseException:  # KeyboardInterrupt, too: nobody waits any more
            future.cancel()
            raise

    def StreamSamples(self, request: Any, *, metadata: Metadata = ()) -> BlockingStream:  # noqa: N802 - the protocol's
        """Draws samples in chunks."""
        return BlockingStream(self._host, "StreamSamples", metadata, _copy(request))

    def StreamScores(self, requests: Iterator[Any], *, metadata: Metadata = ()) -> BlockingStream:  # noqa: N802
        """Scores samples, one response a request; a thread of its own waits for the requests."""
        stream = BlockingStream(self._host, "StreamScores", metadata)

        def feed() -> None:
            for request in requests:
                stream.feed(request)
            stream.feed(None)

        threading.Thread(target=feed, name="ganserve-local-requests", daemon=True).start()
        return stream


class AsyncStub:
    """The methods of GanService as gRPC's asyncio stub has them, for callers on any event loop."""

    def __init__(self, host: _Host) -> None:
        self._host = host
        for method in _UNARY:
            setattr(self, method, functools.partial(self._unary, method))

    async def _unary(
        self,
        method: str,
        request: object,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as gRPC's methods have it
        metadata: Metadata = (),
    ) -> Any:
        return await asyncio.wrap_future(self._host.submit(_answer(self._host, method, request, timeout, metadata)))

    def StreamSamples(self, request: Any, *, metadata: Metadata = ()) -> AsyncStream:  # noqa: N802 - the protocol's
        """Draws samples in chunks."""
        return AsyncStream(self._host, "StreamSamples", metadata, _copy(request))

    def StreamScores(self, *, metadata: Metadata = ()) -> AsyncStream:  # noqa: N802
        """Scores samples, one response a request."""
        return AsyncStream(self._host, "StreamScores", metadata)


class _Stream:
    """A call that streams: read one message at a time, cancelled from any thread."""

    def __init__(self, host: _Host, method: str, metadata: Metadata, request: object = None) -> None:
        self._host = host
        self._method = method
        self._request_id = _request_id(metadata)
        self._request = request
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._responses: AsyncGenerator[Any, None] | None = None
        self._reading: asyncio.Task[Any] | None = None
        self._cancelled = False

    def cancel(self) -> bool:
        """End the call; who waits for a message gets CANCELLED. Again: nothing."""
        if self._cancelled:
            return False
        self._cancelled = True
        self._host.call_soon(self._stop)
        return True

    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def feed(self, request: object) -> None:
        """Send a request; None: there are no more."""
        self._host.call_soon(self._requests.put_nowait, request)

    async def next_message(self) -> Any:
        """The next message, on the service's loop; `grpc.aio.EOF` at the end."""
        self._reading = task = asyncio.current_task()
        assert task is not None, "submitted as one"
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # its reader may be gone
        if self._cancelled:
            raise _cancelled()
        try:
            with _failing(self._host, self._method, self._request_id):
                if self._responses is None:
                    method = getattr(await self._host.servicer(), self._method)
                    request = self._incoming() if self._request is None else self._request
                    self._responses = method(request, _Context(None))
                return await anext(self._responses, grpc.aio.EOF)
        except asyncio.CancelledError:
            if self._cancelled:
                raise _cancelled() from None
            raise
        finally:
            self._reading = None

    def _stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()  # which ends the generator that it waits for
        elif self._responses is not None:
            asyncio.ensure_future(self._responses.aclose()).add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )

    async def _incoming(self) -> AsyncIterator[Any]:
        while (request := await self._requests.get()) is not None:
            yield request


class BlockingStream(_Stream):
    """A call that streams, as gRPC's blocking client has it: an iterator."""

    def __iter__(self) -> BlockingStream:
        return self

    def __next__(self) -> Any:
        """The next message.

        Raises:
            LocalError: The call failed.
        """
        message = self._host.submit(self.next_message()).result()
        if message is grpc.aio.EOF:
            raise StopIteration
        return message


class AsyncStream(_Stream):
    """A call that streams, as gRPC's asyncio client has it."""

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF`.

        Raises:
            LocalError: The call failed.
        """
        return await asyncio.wrap_future(self._host.submit(self.next_message()))

    async def write(self, request: object) -> None:
        """Send a request."""
        self.feed(request)

    async def done_writing(self) -> None:
        """Tells that there are no more requests."""
        self.feed(None)


class _Context:
    """What `GanServicer` asks of gRPC's context."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline

    def time_remaining(self) -> float | None:
        """Seconds until the deadline."""
        return None if self._deadline is None else self._deadline - time.monotonic()


async def _answer(host: _Host, method: str, request: object, timeout_s: float | None, metadata: Metadata) -> Any:
    """Carries out a unary call, on the service's loop."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            with _failing(host, method, _request_id(metadata)):
                servicer = await host.servicer()
                context: Any = _Context(deadline)
                return await getattr(servicer, method)(request, context)
    except TimeoutError as error:
        raise LocalError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from error


@contextlib.contextmanager
def _failing(host: _Host, method: str, request_id: str) -> Iterator[None]:
    """Make what a call raises what gRPC's client would raise."""
    try:
        yield
    except asyncio.CancelledError:
        if host.ending:
            raise closed() from None
        raise
    except StartupError as error:
        field = "provider" if isinstance(error, ProviderError) else "models"
        refusal = InvalidRequestError([FieldViolation(field, without_flags(error))])
        raise LocalError(*client_status(refusal, method, request_id)) from error
    except Exception as error:
        raise LocalError(*client_status(error, method, request_id)) from error


def without_flags(error: StartupError) -> str:
    """The message of an error that was written for `ganserve serve`, without the names of its flags."""
    text = str(error).replace(", or wait for one with --allow-empty", "")
    return text.replace("--models ", "").replace("--provider ", "provider ")


def closed() -> LocalError:
    """The error of a call that the service's end ended."""
    return LocalError(grpc.StatusCode.CANCELLED, "the client was closed during this call")


def _cancelled() -> LocalError:
    return LocalError(grpc.StatusCode.CANCELLED, "the call was cancelled")


def _request_id(metadata: Metadata) -> str:
    return next((value for key, value in metadata if key == REQUEST_ID_KEY and isinstance(value, str)), "")


def _copy(request: Any) -> Any:
    """A copy of a request that its sender goes on writing to."""
    copy = type(request)()
    copy.CopyFrom(request)
    return copy
