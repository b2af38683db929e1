"""Send calls to a server from an event loop, and send them again after failures."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ganserve._calls.failures import closed_during
from ganserve._calls.forks import forks
from ganserve._calls.retries import Attempts
from ganserve._calls.servers import Servers
from ganserve._calls.tracing import Tracing
from ganserve._calls.transport_base import TransportBase, new_request_id
from ganserve._calls.unary_calls import largest_request
from ganserve._errors import DeadlineExceeded, GanserveError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from ganserve._calls.channel import AsyncConnect
    from ganserve._calls.rotation import Endpoint
    from ganserve._calls.targets import Target
    from ganserve._calls.tracing import Headers
    from ganserve._calls.unary_calls import Call
    from ganserve._config import ClientConfig

ResultT = TypeVar("ResultT")


def _open_none(target: Target, address: str) -> Endpoint:
    raise AssertionError(f"{target} {address} before the connection")


class AsyncTransport(TransportBase):
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
        """Return the result of a call; raise MessageTooLarge before it is sent."""
        await self.check_size(call.request, call.timeout_s)
        try:
            with self.tracing.begin(call.method) as span:
                return await self._unary(call, span.headers)
        except GanserveError as error:  # The caller's line and the reason, without the way through the SDK.
            raise error.with_traceback(None) from error.__cause__

    async def check_size(self, request: object, timeout_s: float) -> None:
        """Raise MessageTooLarge if a request is larger than the server takes, as `Transport`."""
        if not self._limit.allows(request):
            self._limit.check(request, await self.unary(largest_request(timeout_s)))

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
                self._limit.learn(response)
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
