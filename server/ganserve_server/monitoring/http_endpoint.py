"""Serve metrics and probes over HTTP: /metrics for Prometheus, /healthz and /readyz for kubelets and balancers."""

from __future__ import annotations

import asyncio
import logging
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from ganserve_server.errors import StartupError
from ganserve_server.monitoring.http_connections import Connections
from ganserve_server.port_errors import port_error_message

if TYPE_CHECKING:
    from ganserve_server.tls.server_tls import ServerTls

# An event loop that takes longer to answer is stuck. Kubelets ask several times before they act.
_LOOP_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 10.0
_MOST_CONNECTIONS = 128
OK = 200
_REFUSALS = {
    401: ("401 Unauthorized", "send a token that the server knows: Authorization: Bearer TOKEN"),
    403: ("403 Forbidden", "the role metrics is needed"),
}
_CERTIFICATE = "ganserve.client_certificate"
_UNAVAILABLE = "503 Service Unavailable"
_TLS_HANDSHAKE = b"\x16"  # the first byte of a client that encrypts
_PLAIN_TEXT = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"
    b"this port encrypts: ask with https:// in the address\n"
)
_log = logging.getLogger(__name__)


class MonitoringEndpoint:
    """An HTTP server on separate threads, so that it answers even while the event loop is busy."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        not_ready_because: Callable[[], str],
        providers: Callable[[], Sequence[str]],
        tls: ServerTls | None = None,
        admit: Callable[[str, str | None, bytes | None, str], int] = lambda *_: 200,
        are_alive: Callable[[], bool] = lambda: True,
    ) -> None:
        """Open the port (0: a free one) and begin to answer; raise StartupError if the port cannot be opened.

        With `tls` it speaks HTTPS only. `admit` returns the status of a path for a caller's authorization header,
        certificate (DER) and address: 200, or why it is refused. `are_alive` returns whether the event loops of further
        processes work.

        `not_ready_because` returns "" if calls are answered; `providers` the execution providers that run models.
        """
        self._metrics: WSGIApplication = make_wsgi_app(registry)
        self._not_ready_because = not_ready_because
        self._providers = providers
        self._admit = admit
        self._are_alive = are_alive
        self._loop = asyncio.get_running_loop()
        server_class = _Server6 if ":" in host else _Server
        try:
            self._server = make_server(host.strip("[]"), port, self._answer, server_class, _Handler)
        except OSError as error:
            message = port_error_message(host.strip("[]"), port, error, flag="--metrics-port", purpose=" for metrics")
            raise StartupError(message) from error
        self._server.tls = tls
        self.port: int = self._server.server_port
        """The open port."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitoring", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; blocks for at most half a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environment: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environment["PATH_INFO"], environment["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            status, text = "405 Method Not Allowed", "only GET and HEAD"
        elif (code := self._admit(path, *_shown_by(environment))) != OK:
            status, text = _REFUSALS[code]
        elif path == "/metrics":
            return self._metrics(environment, start_response)
        elif path == "/healthz":
            alive = self._loop_answers() and self._are_alive()
            status, text = ("200 OK", "ok") if alive else (_UNAVAILABLE, "the server's event loop does not answer")
        elif path == "/readyz":
            reason = self._not_ready_because()
            status, text = (_UNAVAILABLE, reason) if reason else ("200 OK", f"ok, on {', '.join(self._providers())}")
        else:
            status, text = "404 Not Found", "there are: /metrics, /healthz, /readyz"
        body = f"{text}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        if status == _REFUSALS[401][0]:
            headers.append(("WWW-Authenticate", "Bearer"))
        start_response(status, headers)
        return [] if method == "HEAD" else [body]

    def _loop_answers(self) -> bool:
        """Return True if the event loop still runs callbacks."""
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # it is closed
            return False
        return turned.wait(_LOOP_TIMEOUT_S)


def _shown_by(environment: WSGIEnvironment) -> tuple[str | None, bytes | None, str]:
    """Return the authorization header, the certificate and the address of a request."""
    return environment.get("HTTP_AUTHORIZATION"), environment.get(_CERTIFICATE), environment["REMOTE_ADDR"]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _MOST_CONNECTIONS
    # This still refuses a port that another process listens on.
    allow_reuse_address = True
    tls: ServerTls | None = None

    def __init__(self, *arguments: Any) -> None:
        self._connections = Connections(_MOST_CONNECTIONS)
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """Open the port without the base class's DNS lookup of the host's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection, on its own thread: a client that stalls in the handshake keeps nobody waiting."""
        with self._connections.serving(request):
            if self.tls is None:
                super().finish_request(request, client_address)
                return
            request.settimeout(_READ_TIMEOUT_S)
            if request.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE:
                request.sendall(_PLAIN_TEXT)
                return
        encrypted = self.tls.http.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with encrypted, self._connections.serving(encrypted):
            encrypted.do_handshake()
            super().finish_request(encrypted, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        """Do not log clients that disconnected."""
        _log.debug("a request of %s failed", client_address, exc_info=True)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _READ_TIMEOUT_S

    def get_environ(self) -> WSGIEnvironment:
        """Return the request, with the client's certificate if it showed one."""
        environment = super().get_environ()
        if len(self.headers.get_all("Authorization", [])) > 1:  # which of them counts must not be a guess
            environment["HTTP_AUTHORIZATION"] = ""
        if isinstance(self.connection, ssl.SSLSocket):
            environment[_CERTIFICATE] = self.connection.getpeercert(binary_form=True)
        return environment

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's
        _log.debug(format, *args)
