"""Assemble the gRPC server from its services and options, start it and stop it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from tritonclient.grpc import service_pb2_grpc

from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.api.grpc.admin_service import AdminServicer
from ganserve_server.api.grpc.call_handling import CallHandler
from ganserve_server.api.grpc.credentials import server_credentials
from ganserve_server.api.grpc.drain import GRACE_S, Drain
from ganserve_server.api.grpc.gan_service import GanServicer
from ganserve_server.api.grpc.gate import Gate
from ganserve_server.api.grpc.guard import Guard
from ganserve_server.api.grpc.health_list import health_list
from ganserve_server.api.grpc.health_service import HealthServicer
from ganserve_server.api.grpc.listeners import EVERYTHING, Listener
from ganserve_server.api.grpc.open_inference_service import INFERENCE_SERVICE, InferenceServicer
from ganserve_server.api.grpc.reflection_v1 import REFLECTION_V1, reflection_v1
from ganserve_server.errors import StartupError
from ganserve_server.identity.rules import RULES, Part
from ganserve_server.models.repository import Repository
from ganserve_server.monitoring.access_log import AccessLevel, AccessLog
from ganserve_server.monitoring.call_tracking import CallStatistics
from ganserve_server.open_inference.inference import Inference
from ganserve_server.port_errors import check_addresses, find_bind_error, port_error_message
from ganserve_server.requests.limits import Limits
from ganserve_server.service import GanService
from ganserve_server.tracing.spans import CallTracer
from ganserve_server.unix_socket import UNIX, UnixSocket

if TYPE_CHECKING:
    from ganserve_server.tls.server_tls import ServerTls

GAN_SERVICE = gan_service_pb2.DESCRIPTOR.services_by_name["GanService"].full_name
ADMIN_SERVICE = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_SLACK_BYTES = 2**20  # field tags, lengths and names around a payload
_MOST_PENDING_CALLS = 20_000
_LONGER_S = 5.0  # than the drain, which ends calls with an explanation
_OPTIONS = (
    # Calls wait here for the event loop, and then in queues that refuse with a clear status. By default, beyond 1,000
    # calls gRPC drops some at random with a bare CANCELLED, which no client retries.
    ("grpc.server.max_pending_requests", _MOST_PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING_CALLS),
    # Calls that are not read yet hold at most 64 KiB each: gRPC would let fast clients send megabytes.
    ("grpc.http2.bdp_probe", 0),
    # Clients may ping every 30 s, even between calls. By default gRPC allows one ping in 5 minutes, then sends GOAWAY
    # too_many_pings. (gRPC core calls this GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, with "recv".)
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Detect clients that vanished, so that their streams end.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class GrpcServer:
    """The gRPC server. `bind` opens its port; it answers calls after `start`."""

    def __init__(
        self,
        access_log: AccessLevel = "errors",
        limits: Limits | None = None,
        *,
        max_connection_age_s: float = 0.0,
        max_connection_age_grace_s: float = 0.0,
        tls: ServerTls | None = None,
        guard: Guard | None = None,
        parts: frozenset[Part] = EVERYTHING,
        tracer: CallTracer | None = None,
        shares_port: bool = False,
    ) -> None:
        """Make the server; 0 seconds are no limit of a connection's age, or of its calls after that.

        With `tls` it encrypts the calls that come over TCP. `guard` knows who may call; without one, everybody may.
        `parts` are those that the address of `bind` answers; `bind_part` opens others. `tracer` traces calls.
        With `shares_port` other processes listen on the same ports, which somebody has reserved for them.
        """
        limits = limits or Limits()
        self.gate = Gate(limits)
        """The callers and the memory that they hold."""
        self.calls = CallStatistics()
        """Counts of the calls."""
        self._drain = Drain(self.calls)
        self.guard = guard or Guard()
        """Lets in callers."""
        self._handler = CallHandler(self._drain, self.calls, AccessLog(access_log), self.gate, self.guard, tracer)
        bounds = (
            ("grpc.max_receive_message_length", limits.max_request_bytes),
            ("grpc.max_send_message_length", limits.max_response_bytes + _SLACK_BYTES),
            ("grpc.max_allowed_incoming_connections", limits.max_connections),
            ("grpc.max_concurrent_streams", limits.max_connection_calls),
            # gRPC counts a call until its memory is free, a moment after its client has the answer. Without this
            # allowance, clients at the limit would be refused with UNAVAILABLE.
            ("grpc.http2.max_deallocating_streams", limits.max_connection_calls),
        )
        ages = (
            (f"grpc.max_connection_{name}_ms", int(seconds * 1000))
            for name, seconds in (("age", max_connection_age_s), ("age_grace", max_connection_age_grace_s))
            if seconds
        )
        # A port in use is an error: two servers on one port would each get half of the calls.
        self._options = (*_OPTIONS, *bounds, *ages, ("grpc.so_reuseport", int(shares_port)))
        self._shares_port = shares_port
        self._server = self._new_server(parts)
        self._others: list[grpc.aio.Server] = []
        self._parts = parts
        self._health = HealthServicer((GAN_SERVICE, ADMIN_SERVICE, INFERENCE_SERVICE))
        known = (
            GAN_SERVICE,
            ADMIN_SERVICE,
            INFERENCE_SERVICE,
            HEALTH_SERVICE,
            reflection.SERVICE_NAME,
            REFLECTION_V1,
        )
        services = tuple(name for name in known if "reflection" not in parts or _is_in(name, parts))
        methods: Any = self._handler  # it has the methods of a server that the generated functions call
        health_pb2_grpc.add_HealthServicer_to_server(self._health, methods)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(services), methods)
        methods.add_generic_rpc_handlers((health_list(self._health.statuses), reflection_v1(services)))
        self._started = False
        self._tls = tls
        self._socket: UnixSocket | None = None

    def _new_server(self, parts: frozenset[Part]) -> grpc.aio.Server:
        handler = self._handler if parts >= EVERYTHING else Listener(self._handler, parts)
        return grpc.aio.server(handlers=(handler,), options=self._options)

    @property
    def not_ready_because(self) -> str:
        """Return the reason why calls are not answered now; empty if they are."""
        if self._drain.announced:
            return "the server is shutting down"
        if not self._started:
            return "models are being loaded"
        return "" if self._health.serves_models else "no model is ready"

    def bind(self, address: str) -> int:
        """Listen on HOST:PORT or unix:PATH and return the port's number; raise StartupError if that fails.

        A port counts as taken if it is taken on one of the host's addresses.
        """
        return self._bind(self._server, address)

    def bind_part(self, parts: frozenset[Part], address: str) -> int:
        """Listen on another address, HOST:PORT, for some parts of the server; as `bind`."""
        server = self._new_server(parts)
        self._others.append(server)
        return self._bind(server, address)

    def _bind(self, server: grpc.aio.Server, address: str) -> int:
        if address.startswith(UNIX):
            self._socket = UnixSocket(address.removeprefix(UNIX))
            self._socket.check()
            try:
                number = server.add_insecure_port(address)
            except RuntimeError as error:
                raise StartupError(f"cannot listen on {address}: {self._socket.bind_error()}") from error
            self._socket.listening()
            return number
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        try:
            number = int(port) if self._shares_port else check_addresses(host, int(port))
            bracketed = f"[{host}]" if ":" in host else host
            if self._tls is None:
                return server.add_insecure_port(f"{bracketed}:{number}")
            return server.add_secure_port(f"{bracketed}:{number}", server_credentials(self._tls))
        except RuntimeError as error:
            raise StartupError(port_error_message(host, int(port), find_bind_error(host, int(port)))) from error
        except OSError as error:
            raise StartupError(port_error_message(host, int(port), error)) from error

    async def start(self, gan: GanService) -> None:
        """Begin to answer calls."""
        methods: Any = self._handler
        gan_service_pb2_grpc.add_GanServiceServicer_to_server(GanServicer(gan), methods)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(gan.repository), methods)
        inference = InferenceServicer(Inference(gan.repository, gan.limits), lambda: not self.not_ready_because)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, methods)
        self._follow(gan.repository)
        self.gate.budget.fit()  # now that the models are loaded
        for server in (self._server, *self._others):
            await server.start()
        self._health.serve()
        self._started = True

    def _follow(self, repository: Repository) -> None:
        """Update the health of models after changes of the repository."""
        loop = asyncio.get_running_loop()

        def refresh() -> None:
            self._health.set_models(repository.summaries())

        def changed() -> None:  # runs on any thread
            with contextlib.suppress(RuntimeError):  # the loop ended before the repository did
                loop.call_soon_threadsafe(refresh)

        repository.on_change(changed)
        refresh()

    async def announce_stop(self, delay_s: float) -> None:
        """Report NOT_SERVING, and serve for `delay_s` more, until load balancers have noticed."""
        self._drain.announced = True
        self._health.drain()
        await asyncio.sleep(delay_s)

    async def drain(self, timeout_s: float) -> int:
        """Drain the server, stop it, and return how many calls were cut off; see `Drain.finish`.

        Clients are told at once to send no more calls on their connections (GOAWAY), and no new connection is accepted.
        """
        await self.announce_stop(0)
        # gRPC cancels calls that it has received and not let in, with a bare CANCELLED.
        await self.gate.callers.hold(timeout_s / 4)
        self._drain.begin()
        servers = (self._server, *self._others)
        stopping = [asyncio.ensure_future(server.stop(grace=timeout_s + _LONGER_S)) for server in servers]
        await asyncio.sleep(0)  # begins to stop
        self.gate.callers.release()
        cut_off = await self._drain.finish(timeout_s)
        self._health.close()
        for server in servers:
            await server.stop(grace=GRACE_S)  # the shortest grace counts
        await asyncio.gather(*stopping)
        if self._socket is not None:
            self._socket.remove()
        return cut_off


def _is_in(service: str, parts: frozenset[Part]) -> bool:
    """Return whether parts of the server have methods of a service."""
    return any(rule.parts <= parts for method, rule in RULES.items() if method.startswith(f"/{service}/"))
