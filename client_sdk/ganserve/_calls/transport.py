"""How calls reach a server, and are tried again: blocking or with asyncio, over gRPC or in the process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ganserve._calls.failures import REQUEST_ID_KEY, from_rpc_error
from ganserve._calls.forks import forks
from ganserve._calls.retries import Attempts, may_pass
from ganserve._calls.rotation import Rotation
from ganserve._errors import ClientClosed, GanserveError, RequestCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ganserve._calls.rotation import Endpoint
    from ganserve._calls.unary import Call
    from ganserve._config import ClientConfig

ResultT = TypeVar("ResultT")
log = logging.getLogger("ganserve")


def new_request_id() -> str:
    """An id to find a request in a server's log."""
    return os.urandom(8).hex()


class _Base:
    """What both transports have in common."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self._process = os.getpid()

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that the client was made in."""
        return os.getpid() != self._process

    def _metadata(self, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
        return ((REQUEST_ID_KEY, request_id), *self.config.metadata)

    def _check_process(self) -> None:
        if self.forked:
            raise GanserveError(
                f"this client was made in process {self._process}, of which this one is a fork, and its connections do "
                "not live on here: start processes with the method spawn or forkserver, or close clients before a fork"
            )

    def failure(self, endpoint: Endpoint, error: grpc.RpcError, request_id: str, timeout_s: float) -> GanserveError:
        """The SDK's error for gRPC's."""
        failure = from_rpc_error(error, target=endpoint.target, request_id=request_id, timeout_s=timeout_s)
        failure.__cause__ = error
        return failure

    @staticmethod
    def _when_closed(failure: GanserveError) -> GanserveError:
        """How a call ends whose last attempt failed, and whose client was closed before the next one."""
        if not may_pass(failure):
            return failure
        closed = closed_during("call", failure.request_id or "")
        closed.__cause__ = failure.__cause__
        return closed

    def _pause_s(
        self, rotation: Rotation, endpoint: Endpoint, attempts: Attempts, failure: GanserveError, what: str
    ) -> float:
        """Seconds to wait before a call is tried again.

        Raises:
            GanserveError: It is not tried again.
        """
        if not may_pass(failure):
            raise failure
        retry_after_s: float | None = getattr(failure, "retry_after_s", None)
        elsewhere = rotation.failed(endpoint, retry_after_s)
        pause_s = attempts.pause_s(failure, elsewhere=elsewhere)
        if pause_s is None:
            raise failure
        log.info(
            "%s at %s: %s; trying again in %.2f s, request id %s",
            *(what, endpoint.target, failure, pause_s, failure.request_id),
        )
        return pause_s


def _closed() -> ClientClosed:
    return ClientClosed("this client is closed: make a new one, or keep the calls inside its with block")


def closed_during(what: str, request_id: str) -> RequestCancelled:
    """The error of a call that `close()` ended."""
    return RequestCancelled(f"the client was closed during this {what}", code="CANCELLED", request_id=request_id)


class Transport(_Base):
    """Carries out calls and waits for them; used by any number of threads."""

    def __init__(self, config: ClientConfig, endpoints: Sequence[Endpoint]) -> None:
        super().__init__(config)
        self._rotation = Rotation(endpoints)
        self._closed = threading.Event()

    @property
    def closed(self) -> bool:
        """Whether `close()` was called."""
        return self._closed.is_set()

    def unary(self, call: Call[ResultT]) -> ResultT:
        """The result of a call.

        Raises:
            GanserveError: It failed.
        """
        request_id = new_request_id()
        attempts = Attempts(call.timeout_s, self.config.max_attempts)
        while True:
            endpoint = self.endpoint()
            method = getattr(endpoint.stub, call.method)
            try:
                response = self.start(method, call.request, request_id, timeout=attempts.left_s)
            except grpc.RpcError as error:
                failure = self.failure(endpoint, error, request_id, call.timeout_s)
                self.pause(endpoint, attempts, failure, call.method)
            else:
                self._rotation.answered(endpoint)
                return call.parse(response)

    def endpoint(self) -> Endpoint:
        """The server that the next attempt goes to.

        Raises:
            GanserveError: The client is closed, or was made in another process.
        """
        self._check_process()
        if self._closed.is_set():
            raise _closed()
        return self._rotation.next()

    def start(self, method: Any, request: object, request_id: str, **options: Any) -> Any:
        """Call a stub's method."""
        try:
            return method(request, metadata=self._metadata(request_id), **options)
        except ValueError as error:  # what grpc says of a channel that another thread has just closed
            if self._closed.is_set():
                raise _closed() from error
            raise

    def pause(self, endpoint: Endpoint, attempts: Attempts, failure: GanserveError, what: str) -> None:
        """Wait before a call is tried again.

        Raises:
            GanserveError: It is not tried again, or the client was closed.
        """
        if not self._closed.is_set() and not self._closed.wait(
            self._pause_s(self._rotation, endpoint, attempts, failure, what)
        ):
            return
        raise self._when_closed(failure)

    def answered(self, endpoint: Endpoint) -> None:
        """Note that an endpoint is well."""
        self._rotation.answered(endpoint)

    def close(self) -> None:
        """Close the connections; calls that are under way end with RequestCancelled. Again: nothing."""
        if not self._closed.is_set() and not self.forked:
            self._closed.set()
            for endpoint in self._rotation.endpoints:
                endpoint.close()
            forks.closed()


class AsyncTransport(_Base):
    """Carries out calls on an event loop; used by any number of its tasks."""

    def __init__(self, config: ClientConfig, connect: Callable[[], Sequence[Endpoint]]) -> None:
        """Make no connection yet.

        Args:
            config: The configuration.
            connect: Makes the endpoints, on the loop that they are for.
        """
        super().__init__(config)
        self._connect = connect
        self._closed = asyncio.Event()
        self._rotation: Rotation | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def closed(self) -> bool:
        """Whether `close()` was called."""
        return self._closed.is_set()

    def endpoint(self) -> Endpoint:
        """The server that the next attempt goes to. The first call binds the client to the loop that runs then.

        Raises:
            GanserveError: The client is closed, or was made in another process or for another loop.
        """
        self._check_process()
        if self._closed.is_set():
            raise _closed()
        loop = asyncio.get_running_loop()
        if self._rotation is None:
            self._loop, self._rotation = loop, Rotation(self._connect())
        elif self._loop is not loop:
            raise GanserveError("this AsyncClient belongs to another event loop: make one for each asyncio.run")
        return self._rotation.next()

    async def unary(self, call: Call[ResultT]) -> ResultT:
        """The result of a call.

        Raises:
            GanserveError: It failed.
        """
        request_id = new_request_id()
        attempts = Attempts(call.timeout_s, self.config.max_attempts)
        while True:
            endpoint = self.endpoint()
            method = getattr(endpoint.stub, call.method)
            try:
                response = await method(call.request, timeout=attempts.left_s, metadata=self._metadata(request_id))
            except grpc.RpcError as error:
                failure = self.failure(endpoint, error, request_id, call.timeout_s)
                await self.pause(endpoint, attempts, failure, call.method)
            except asyncio.CancelledError as error:
                self.raise_if_closed("call", request_id, error)
                raise
            else:
                self.answered(endpoint)
                if call.slow:
                    return await asyncio.to_thread(call.parse, response)
                return call.parse(response)

    def start(self, method: Any, request_id: str, *request: object) -> Any:
        """Call a stub's method that streams; gRPC's call object."""
        return method(*request, metadata=self._metadata(request_id))

    async def pause(self, endpoint: Endpoint, attempts: Attempts, failure: GanserveError, what: str) -> None:
        """Wait before a call is tried again.

        Raises:
            GanserveError: It is not tried again, or the client was closed.
        """
        if self._closed.is_set() or self._rotation is None:
            raise self._when_closed(failure)
        pause_s = self._pause_s(self._rotation, endpoint, attempts, failure, what)
        try:
            async with asyncio.timeout(pause_s):
                await self._closed.wait()
        except TimeoutError:
            return
        raise self._when_closed(failure)

    def answered(self, endpoint: Endpoint) -> None:
        """Note that an endpoint is well."""
        if self._rotation is not None:
            self._rotation.answered(endpoint)

    def raise_if_closed(self, what: str, request_id: str, error: asyncio.CancelledError) -> None:
        """Raise RequestCancelled if a cancellation came from `close()`, not from someone who cancelled this task."""
        task = asyncio.current_task()
        if self.closed and (task is None or not task.cancelling()):
            raise closed_during(what, request_id) from error

    async def close(self) -> None:
        """Close the connections; calls that are under way end with RequestCancelled. Again: nothing."""
        if self._closed.is_set() or self.forked:
            return
        self._closed.set()
        for endpoint in self._rotation.endpoints if self._rotation is not None else ():
            await endpoint.close()
        forks.closed()
