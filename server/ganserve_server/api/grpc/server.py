"""Assembles the gRPC server: methods, limits, health and reflection; starts it and drains it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from tritonclient.grpc import service_pb2_grpc

from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.api.grpc.admin import AdminServicer
from ganserve_server.api.grpc.health import HealthServicer
from ganserve_server.api.grpc.methods import Methods
from ganserve_server.api.grpc.open_inference import INFERENCE_SERVICE, InferenceServicer
from ganserve_server.api.grpc.services import GanServicer
from ganserve_server.api.tcp_ports import bind_error, refusal
from ganserve_server.errors import StartupError
from ganserve_server.loading import MAX_PAYLOAD_BYTES
from ganserve_server.monitoring.calls import CallStatistics
from ganserve_server.monitoring.logs import AccessLog
from ganserve_server.open_inference.inference import Inference

if TYPE_CHECKING:
    from ganserve_server.api.grpc.methods import Gate
    from ganserve_server.models.repository import Repository
    from ganserve_server.monitoring.logs import AccessLevel
    from ganserve_server.service import Gan

GAN_SERVICE = gan_service_pb2.DESCRIPTOR.services_by_name["GanService"].full_name
ADMIN_SERVICE = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_LAST_WORDS_S = 0.5  # for streams to say why they end
_GRACE_S = 0.2  # for the last answers to leave
_SLACK_BYTES = 2**20  # field tags, lengths and names around a payload
_MOST_PENDING_CALLS = 20_000
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_PAYLOAD_BYTES + _SLACK_BYTES),
    ("grpc.max_send_message_length", MAX_PAYLOAD_BYTES + _SLACK_BYTES),
    # Calls wait here for the event loop, then in queues that refuse with words. From 1,000 on gRPC would drop them at
    # random and with a bare CANCELLED, which no client would try again.
    ("grpc.server.max_pending_requests", _MOST_PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING_CALLS),
    # Two servers on one port would each get half of the calls: a taken port is an error.
    ("grpc.so_reuseport", 0),
    # Clients may ping every 30 s, also between calls; gRPC's default is 5 minutes, then GOAWAY too_many_pings. (This is
    # what core calls GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS; the option's name has no "recv".)
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Finds clients that vanished without a word, so that their streams end.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
_log = logging.getLogger(__name__)


class GrpcServer:
    """The server on its port. The port is taken by `bind`, calls are answered from `start` on."""

    def __init__(self, access_log: AccessLevel = "errors") -> None:
        self.calls = CallStatistics()
        """Counts of the calls."""
        # The gates of every call, in their order: none yet. Who may call comes first, how much of it second.
        gates: tuple[Gate, ...] = ()
        self._methods = Methods(gates, self.calls, AccessLog(access_log))
        self._server = grpc.aio.server(handlers=(self._methods,), options=_OPTIONS)
        self._health = HealthServicer((GAN_SERVICE, ADMIN_SERVICE, INFERENCE_SERVICE))
        services = (GAN_SERVICE, ADMIN_SERVICE, INFERENCE_SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME)
        methods: Any = self._methods  # for a server, whatever the stubs say
        health_pb2_grpc.add_HealthServicer_to_server(self._health, methods)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(services), methods)
        self._started = False

    @property
    def not_ready_because(self) -> str:
        """Why calls are not answered now; empty if they are."""
        if self._methods.draining:
            return "the server is shutting down"
        if not self._started:
            return "models are being loaded"
        return "" if self._health.serves_models else "no model is ready"

    def bind(self, address: str) -> int:
        """Take the port of HOST:PORT and returns its number.

        Raises:
            StartupError: It cannot be had.
        """
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            raise StartupError(refusal(host, int(port), bind_error(host, int(port)))) from error

    async def start(self, gan: Gan) -> None:
        """Begins to answer calls."""
        methods: Any = self._methods
        gan_service_pb2_grpc.add_GanServiceServicer_to_server(GanServicer(gan), methods)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(gan.repository), methods)
        inference = InferenceServicer(Inference(gan.repository, gan.limits), lambda: not self.not_ready_because)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, methods)
        self._follow(gan.repository)
        await self._server.start()
        self._health.serve()
        self._started = True

    def _follow(self, repository: Repository) -> None:
        """Has the health of models follow the repository's."""
        loop = asyncio.get_running_loop()

        def refresh() -> None:
            self._health.set_models(repository.summaries())

        def changed() -> None:  # on any thread
            with contextlib.suppress(RuntimeError):  # the loop ended before the repository did
                loop.call_soon_threadsafe(refresh)

        repository.on_change(changed)
        refresh()

    async def drain(self, timeout_s: float) -> int:
        """Turn new calls away with UNAVAILABLE, lets those that run finish, and stops within `timeout_s`.

        Where that is less than a second or so, streams that are cut off get half a second more to say so.

        Returns:
            The calls that were cut off because they took longer.
        """
        self._methods.close()
        self._health.drain()
        patience_s = max(timeout_s - _LAST_WORDS_S - _GRACE_S, timeout_s / 2)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._methods.drained(), patience_s)
        cut_off = self._methods.running
        if cut_off:
            _log.warning("%d calls did not finish within %g s and are cut off", cut_off, timeout_s)
            self._methods.cut_off()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._methods.drained(), _LAST_WORDS_S)
        self._health.close()
        await self._server.stop(grace=_GRACE_S)
        return cut_off
