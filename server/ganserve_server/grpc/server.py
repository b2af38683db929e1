"""Assembles the gRPC server: services, interceptors, limits, health and reflection; starts it and drains it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.core.errors import StartupError
from ganserve_server.grpc.interceptors import AdmissionInterceptor, ErrorInterceptor
from ganserve_server.grpc.services import AdminServicer, GanServicer

if TYPE_CHECKING:
    from ganserve_server.core.gan import Gan

GAN_SERVICE = gan_service_pb2.DESCRIPTOR.services_by_name["GanService"].full_name
ADMIN_SERVICE = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name

MAX_PAYLOAD_BYTES = 256 * 2**20
_CUT_OFF_S = 0.5  # for streams to say why they end
_SLACK_BYTES = 2**20  # field tags, lengths and names around a payload
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_PAYLOAD_BYTES + _SLACK_BYTES),
    ("grpc.max_send_message_length", MAX_PAYLOAD_BYTES + _SLACK_BYTES),
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

    def __init__(self) -> None:
        self._admission = AdmissionInterceptor()
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(interceptors=(ErrorInterceptor(), self._admission), options=_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services = (GAN_SERVICE, ADMIN_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(services, self._server)

    def bind(self, address: str) -> int:
        """Takes the port of HOST:PORT and returns its number.

        Raises:
            StartupError: It cannot be had.
        """
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise StartupError(
                f"cannot listen on {address}: another process has the port, or this machine has no such address; "
                "choose another with --port (0: a free one) or --host"
            ) from error

    async def start(self, gan: Gan) -> None:
        """Begins to answer calls."""
        gan_service_pb2_grpc.add_GanServiceServicer_to_server(GanServicer(gan), self._server)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(AdminServicer(), self._server)
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def drain(self, timeout_s: float) -> int:
        """Turns new calls away with UNAVAILABLE, lets those that run finish, and stops.

        Returns:
            The calls that were cut off because they took longer than `timeout_s`.
        """
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._admission.drain(), timeout_s)
        cut_off = self._admission.running
        if cut_off:
            _log.warning("%d calls did not finish within %g s and are cut off", cut_off, timeout_s)
            self._admission.cut_off()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._admission.drain(), _CUT_OFF_S)
        # The grace lets the last answers, and open health watches, leave.
        await self._server.stop(grace=0.2)
        return cut_off

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", GAN_SERVICE):
            await self._health.set(service, status)
