"""Decide what both transports do: which server to call, how long, and whether to call again after a failure."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import TYPE_CHECKING

import grpc

from ganserve._calls.failures import REQUEST_ID_KEY, client_closed, closed_during, from_rpc_error
from ganserve._calls.retries import Attempts, may_pass
from ganserve._calls.servers import Servers
from ganserve._calls.sizes import RequestLimit
from ganserve._calls.tracing import Tracing
from ganserve._errors import DeadlineExceeded, GanserveError
from ganserve._token import check_token

if TYPE_CHECKING:
    from ganserve._calls.rotation import Endpoint
    from ganserve._calls.tracing import Headers
    from ganserve._config import ClientConfig

log = logging.getLogger("ganserve")


def new_request_id() -> str:
    """Return an id that finds a request in the server's log."""
    return os.urandom(8).hex()


class TransportBase:
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
        self._limit = RequestLimit(config.target)

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
