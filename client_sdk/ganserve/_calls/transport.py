"""Send calls to a server and send them again after failures: `Transport` blocks, `AsyncTransport` is for asyncio."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ganserve._calls.failures import REQUEST_ID_KEY, client_closed, closed_during, from_rpc_error
from ganserve._calls.forks import forks
from ganserve._calls.retries import Attempts, may_pass
from ganserve._calls.servers import Servers
from ganserve._calls.sizes import USUAL_REQUEST_BYTES, limit_in, too_large
from ganserve._calls.tracing import Tracing
from ganserve._calls.unary_calls import largest_request
from ganserve._errors import DeadlineExceeded, GanserveError
from ganserve._token import check_token

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from ganserve._calls.channel import AsyncConnect, Connect
    from ganserve._calls.rotation import Endpoint
    from ganserve._calls.targets import Target
    from ganserve._calls.tracing import Headers
    from ganserve._calls.unary_calls import Call
    from ganserve._config import ClientConfig

ResultT = TypeVar("ResultT")
log = logging.getLogger("ganserve")

_open: weakref.WeakSet[Transport] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Disconnect clients while gRPC's threads still run: without them, closing one with an open stream never ends."""
    for transport in list(_open):
        if not transport.forked:
            transport.disconnect()


def new_request_id() -> str:
    """Return an id that finds a request in the server's log."""
    return os.urandom(8).hex()


class _Base:
    """The decisions that both transports share."""

    def __init__(
        self, config: ClientConfig, servers: Servers, closed: threading.Event | asyncio.Event, tracing: Tracing
    ) -> None:
        self.config = config
        self.tracing = tracing
        """Makes the spans of calls."""
        self._servers = servers
        self._is_closed = closed.is_set
        self._process = os.getpid()
        self._authorization: tuple[tuple[str, str], ...] = ()
        if isinstance(config.token, str):
            self._use_token(config.token)
        self._largest_request = USUAL_REQUEST_BYTES  # or what a server has told

    @property
    def closed(self) -> bool:
        """True once `close()` was called."""
        return self._is_closed()

    @property
    def forked(self) -> bool:
        """True if this process is a fork of the one that made the client."""
        return os.getpid() != self._process

    def metadata(self, request_id: str, headers: Headers) -> tuple[tuple[str, str | bytes], ...]:
        """Return what is sent with a call, `headers` of its span included; `endpoint` has fetched the token."""
        return ((REQUEST_ID_KEY, request_id), *headers, *self._authorization, *self.config.metadata)

    def _use_token(self, token: object) -> None:
        self._authorization = (("authorization", f"Bearer {check_token('token', token)}"),)

    def failure(self, endpoint: Endpoint, error: grpc.RpcError, request_id: str, timeout_s: float) -> GanserveError:
        """Return the SDK's error for gRPC's."""
        return from_rpc_error(error, endpoint=endpoint, request_id=request_id, timeout_s=timeout_s)

    def answered(self, endpoint: Endpoint) -> None:
        """Note that a server works."""
        self._servers.rotation.answered(endpoint)

    def _check_size(self, call: Call[Any], size: int, limit: int) -> None:
        """Raise MessageTooLarge if a request of `size` bytes is larger than the server's limit; 0: unknown."""
        if limit:
            self._largest_request = limit
            if size > limit:
                raise too_large(call.request, size, limit, self.config.target)

    def _learn(self, response: Any) -> None:
        """Note the largest request, if a response tells it."""
        self._largest_request = limit_in(response) or self._largest_request

    def share_s(self, attempts: Attempts) -> float | None:
        """Return the deadline of the next attempt."""
        return attempts.share_s(self._servers.rotation.available)

    def _check_usable(self) -> None:
        if self.forked:
            raise GanserveError(
                f"this client was made in process {self._process}, of which this one is a fork, and its connections do "
                "not work here: start processes with the method spawn or forkserver, or close clients before a fork"
            )
        if self._is_closed():
            raise client_closed()

    def _not_looked_up(self) -> DeadlineExceeded:
        message = f"the name of {self.config.target} was not found in time: raise timeout_s, or check the name servers"
        return DeadlineExceeded(message, code="DEADLINE_EXCEEDED")

    @staticmethod
    def _failure_when_closed(failure: GanserveError) -> GanserveError:
        """Return the error of a call whose client was closed before the next attempt."""
        if not may_pass(failure):
            return failure
        return closed_during("call", failure.request_id or "")

    def _pause_s(self, endpoint: Endpoint, attempts: Attempts, failure: GanserveError, method: str) -> float:
        """Return the seconds to wait before the next attempt, or raise the failure if there is none."""
        if not may_pass(failure):
            self.answered(endpoint)
            raise failure from None
        retry_after_s: float | None = getattr(failure, "retry_after_s", None)
        elsewhere = self._servers.failed(endpoint, retry_after_s)
        pause_s = attempts.pause_s(failure, elsewhere=elsewhere)
        if pause_s is None:
            raise attempts.told(failure) from None
        log.info(
            "%s at %s: %s; trying again in %.2f s, request id %s",
            *(method, endpoint.target, failure, pause_s, failure.request_id),
        )
        return pause_s


class Transport(_Base):
    """Sends calls and waits for the answers; any number of threads may use it."""

    def __init__(self, config: ClientConfig, connect: Connect, interceptors: Sequence[object] = ()) -> None:
        self._closed = threading.Event()
        tracing = Tracing(config, interceptors, "GrpcInstrumentorClient")
        super().__init__(config, connect(), self._closed, tracing)
        self._looked = threading.Condition()
        _open.add(self)

    def endpoint(self, left_s: float | None) -> Endpoint:
        """Return the server for the next attempt; the client must be open, and of this process.

        Waits for a look at the names of servers, at most `left_s`, if no address is known that works.
        """
        self._check_usable()
        rotation = self._servers.rotation
        if self._servers.begin_look():
            look = threading.Thread(target=self._look, name="ganserve-names", daemon=True)
            look.start()
            if not rotation.available:
                look.join(left_s)
        if not rotation.endpoints:  # this thread or another one looks
            with self._looked:
                if not self._looked.wait_for(lambda: rotation.endpoints or self.closed, left_s):
                    raise self._not_looked_up()
            self._check_usable()
        for endpoint in rotation.due():
            threading.Thread(target=self._probe, args=(endpoint,), name="ganserve-probe", daemon=True).start()
        if callable(self.config.token):
            token = self.config.token()
            if inspect.iscoroutine(token):
                token.close()
            self._use_token(token)
        return rotation.next()

    def _look(self) -> None:
        """Look up the names of servers."""
        found = self._servers.look_up()
        closing = self._servers.update(found)
        with self._looked:
            self._looked.notify_all()
        for endpoint in self._servers.opened if self.closed else closing:
            endpoint.close()

    def _probe(self, endpoint: Endpoint) -> None:
        """Let an endpoint return if its server works."""
        try:
            well = endpoint.probe is None or endpoint.probe()
        except ValueError:  # the channel was closed
            return
        self._servers.rotation.probed(endpoint, well)

    def unary(self, call: Call[ResultT]) -> ResultT:
        """Return the result of a call; ask for the largest request first if this one is unusually large."""
        if (size := call.request.ByteSize()) > self._largest_request:
            self._check_size(call, size, self.unary(largest_request(call.timeout_s)))
        try:
            with self.tracing.begin(call.method) as span:
                return self._unary(call, span.headers)
        except GanserveError as error:  # The caller's line and the reason, without the way through the SDK.
            raise error.with_traceback(None) from error.__cause__

    def _unary(self, call: Call[ResultT], headers: Headers) -> ResultT:
        request_id = new_request_id()
        attempts = Attempts(call.timeout_s, self.config.max_attempts)
        while True:
            endpoint = self.endpoint(attempts.left_s)
            try:
                method = getattr(endpoint.stub, call.method)
                response = self.start(method, call.request, request_id, headers, timeout=self.share_s(attempts))
            except grpc.RpcError as error:
                failure = self.failure(endpoint, error, request_id, call.timeout_s)
                self.pause(endpoint, attempts, failure, call.method)
            else:
                self.answered(endpoint)
                self._learn(response)
                return call.parse(response)

    def start(self, method: Any, request: object, request_id: str, headers: Headers, **options: Any) -> Any:
        """Call a stub's method."""
        try:
            return method(request, metadata=self.metadata(request_id, headers), **options)
        except ValueError:  # gRPC's error for a channel that another thread has just closed
            if self.closed:
                raise client_closed() from None
            raise

    def parse(self, parse: Callable[[Any], ResultT], response: Any, *, slow: bool) -> ResultT:  # noqa: ARG002
        """Return the result of a response."""
        return parse(response)

    def pause(self, endpoint: Endpoint, attempts: Attempts, failure: GanserveError, method: str) -> None:
        """Wait before the next attempt; raise an error if there is none, or the client is closed."""
        if self.closed or self._closed.wait(self._pause_s(endpoint, attempts, failure, method)):
            raise self._failure_when_closed(failure) from None

    def close(self) -> None:
        """Close the connections; running calls end with RequestCancelled. Do nothing if closed."""
        if self.closed or self.forked:
            return
        self.disconnect()
        if self._servers.close_last is not None:
            self._servers.close_last()
        forks.closed()

    def disconnect(self) -> None:
        """Close the connections."""
        self._closed.set()
        for endpoint in self._servers.opened:
            endpoint.close()
        with self._looked:
            self._looked.notify_all()


def _open_none(target: Target, address: str) -> Endpoint:
    raise AssertionError(f"{target} {address} before the connection")


class AsyncTransport(_Base):
    """Sends calls from an event loop, whose tasks may all use it."""

    def __init__(self, config: ClientConfig, connect: AsyncConnect, interceptors: Sequence[object] = ()) -> None:
        """Make no connection yet: the first call connects, and binds the client to its event loop."""
        self._closed = asyncio.Event()
        tracing = Tracing(config, interceptors, "GrpcAioInstrumentorClient")
        super().__init__(config, Servers((), _open_none), self._closed, tracing)
        self._connect = connect
        self._connecting: asyncio.Future[Servers] | None = None
        self._look_task: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def endpoint(self, left_s: float | None) -> Endpoint:
        """Return the server for the next attempt, as in `Transport`; the first call connects to it within `left_s`."""
        self._check_usable()
        loop = asyncio.get_running_loop()
        if self._connecting is None:
            self._connecting = loop.create_task(self._connected())
        if self._connecting.get_loop() is not loop:
            raise GanserveError("this AsyncClient belongs to another event loop: make one for each asyncio.run")
        if not self._servers.rotation.endpoints:
            await self._wait_until_connected(self._connecting, left_s)
        servers = self._servers
        rotation = servers.rotation
        if servers.begin_look():
            self._look_task = self._in_background(self._look(servers))
        if self._look_task is not None and not self._look_task.done() and not rotation.available:
            await asyncio.wait([self._look_task], timeout=left_s)
            self._check_usable()
        if not rotation.endpoints:
            raise self._not_looked_up()
        for endpoint in rotation.due():
            self._in_background(self._probe(endpoint))
        if callable(self.config.token):
            token = self.config.token()
            self._use_token(await token if inspect.isawaitable(token) else token)
        return rotation.next()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look(self, servers: Servers) -> None:
        """Look up the names of servers."""
        found = await asyncio.to_thread(servers.look_up)
        for endpoint in servers.update(found):
            await endpoint.close()

    async def _probe(self, endpoint: Endpoint) -> None:
        """Let an endpoint return if its server works."""
        well = endpoint.probe is None or await endpoint.probe()
        self._servers.rotation.probed(endpoint, well)

    async def _connected(self) -> Servers:
        return await self._connect()

    async def _wait_until_connected(self, connecting: asyncio.Future[Servers], left_s: float | None) -> None:
        try:
            async with asyncio.timeout(left_s):
                self._servers = await asyncio.shield(connecting)
        except TimeoutError:
            message = f"{self.config.target} was not ready in time: raise timeout_s"
            raise DeadlineExceeded(message, code="DEADLINE_EXCEEDED") from None
        self._check_usable()

    async def unary(self, call: Call[ResultT]) -> ResultT:
        """Return the result of a call; ask for the largest request first if this one is unusually large."""
        if (size := call.request.ByteSize()) > self._largest_request:
            self._check_size(call, size, await self.unary(largest_request(call.timeout_s)))
        try:
            with self.tracing.begin(call.method) as span:
                return await self._unary(call, span.headers)
        except GanserveError as error:  # The caller's line and the reason, without the way through the SDK.
            raise error.with_traceback(None) from error.__cause__

    async def _unary(self, call: Call[ResultT], headers: Headers) -> ResultT:
        request_id = new_request_id()
        attempts = Attempts(call.timeout_s, self.config.max_attempts)
        while True:
            endpoint = await self.endpoint(attempts.left_s)
            try:
                method = getattr(endpoint.stub, call.method)
                response = await method(
                    call.request, timeout=self.share_s(attempts), metadata=self.metadata(request_id, headers)
                )
            except grpc.RpcError as error:
                failure = self.failure(endpoint, error, request_id, call.timeout_s)
                await self.pause(endpoint, attempts, failure, call.method)
            except asyncio.CancelledError:
                self.raise_if_closed("call", request_id)
                raise
            else:
                self.answered(endpoint)
                self._learn(response)
                return await self.parse(call.parse, response, slow=call.slow)

    async def parse(self, parse: Callable[[Any], ResultT], response: Any, *, slow: bool) -> ResultT:
        """Return the result of a response; in another thread where that takes long."""
        return await asyncio.to_thread(parse, response) if slow else parse(response)

    async def pause(self, endpoint: Endpoint, attempts: Attempts, failure: GanserveError, method: str) -> None:
        """Wait before the next attempt; raise an error if there is none, or the client is closed."""
        if not self.closed:
            pause_s = self._pause_s(endpoint, attempts, failure, method)
            try:
                async with asyncio.timeout(pause_s):
                    await self._closed.wait()
            except TimeoutError:
                return
        raise self._failure_when_closed(failure) from None

    def raise_if_closed(self, what: str, request_id: str) -> None:
        """Raise RequestCancelled if a cancellation came from `close()`, not from the code that cancelled this task."""
        task = asyncio.current_task()
        if self.closed and (task is None or not task.cancelling()):
            raise closed_during(what, request_id) from None

    async def close(self) -> None:
        """Close the connections; running calls end with RequestCancelled. Do nothing if closed."""
        if self.closed or self.forked:
            return
        self._closed.set()
        connecting = self._connecting
        if connecting is not None:
            if not connecting.done():
                await asyncio.wait([connecting])
            for task in self._tasks:
                task.cancel()
            if not connecting.cancelled() and connecting.exception() is None:
                servers = connecting.result()
                for endpoint in servers.opened:
                    await endpoint.close()
                if servers.close_last is not None:
                    await servers.close_last()
        forks.closed()
