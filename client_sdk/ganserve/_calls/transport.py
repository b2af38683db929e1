"""Send calls to a server, and send them again after failures; `async_transport` does the same for asyncio."""

from __future__ import annotations

import atexit
import inspect
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from ganserve._calls.failures import client_closed
from ganserve._calls.forks import forks
from ganserve._calls.retries import Attempts
from ganserve._calls.tracing import Tracing
from ganserve._calls.transport_base import TransportBase, new_request_id
from ganserve._calls.unary_calls import largest_request
from ganserve._errors import GanserveError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ganserve._calls.channel import Connect
    from ganserve._calls.rotation import Endpoint
    from ganserve._calls.tracing import Headers
    from ganserve._calls.unary_calls import Call
    from ganserve._config import ClientConfig

ResultT = TypeVar("ResultT")

_open: weakref.WeakSet[Transport] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Disconnect clients while gRPC's threads still run: without them, closing one with an open stream never ends."""
    for transport in list(_open):
        if not transport.forked:
            transport.disconnect()


class Transport(TransportBase):
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
        """Return the result of a call; raise MessageTooLarge before it is sent."""
        self.check_size(call.request, call.timeout_s)
        try:
            with self.tracing.begin(call.method) as span:
                return self._unary(call, span.headers)
        except GanserveError as error:  # The caller's line and the reason, without the way through the SDK.
            raise error.with_traceback(None) from error.__cause__

    def check_size(self, request: object, timeout_s: float) -> None:
        """Raise MessageTooLarge if a request is larger than the server takes; ask for its limit if that is likely."""
        if not self._limit.allows(request):
            self._limit.check(request, self.unary(largest_request(timeout_s)))

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
                self._limit.learn(response)
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
