"""Serve `grpc.health.v1.Health` for the server, its services, and each model and version by name.

This replaces grpcio-health-checking's servicer, which (1.81) forgets all watchers of a service when the first one
leaves, cannot forget a service, and lets watches delay the server's end.
"""
# ruff: noqa: ARG002, N802 - the protocol defines names and arguments

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ganserve.v1 import gan_service_pb2
from ganserve_server.api.grpc.gan_service import Context
from ganserve_server.identity.identity import may_see

SERVING: int = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: int = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Answers checks and watches. All methods run on the event loop."""

    def __init__(self, services: Iterable[str]) -> None:
        """Start with everything NOT_SERVING. The empty name, for the server, is added to the services."""
        self._services = dict.fromkeys(["", *services], NOT_SERVING)
        self._models: dict[str, int] = {}
        self._draining = False
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def serves_models(self) -> bool:
        """True if any model is SERVING."""
        return SERVING in self._models.values()

    def serve(self) -> None:
        """Set the services to SERVING until `drain`; the server is SERVING while any model is."""
        if not self._draining:
            self._services = dict.fromkeys(self._services, SERVING)
            self._notify()

    def set_models(self, models: Iterable[gan_service_pb2.ModelSummary]) -> None:
        """Set the models: `name` is SERVING if any version is ready, `name/version` if that version is."""
        statuses: dict[str, int] = {}
        for model in models:
            statuses[model.name] = SERVING if model.latest else NOT_SERVING
            for version in model.versions:
                ready = version.state == gan_service_pb2.MODEL_STATE_READY
                statuses[f"{model.name}/{version.version}"] = SERVING if ready else NOT_SERVING
        if self._draining:
            statuses = dict.fromkeys(statuses, NOT_SERVING)
        if statuses != self._models:
            self._models = statuses
            self._notify()

    def drain(self) -> None:
        """Set everything to NOT_SERVING, for good."""
        self._draining = True
        self._services = dict.fromkeys(self._services, NOT_SERVING)
        self._models = dict.fromkeys(self._models, NOT_SERVING)
        self._notify()

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._notify()

    def statuses(self) -> dict[str, int]:
        """Return the status of each service, model and version, and of the server, whose name is empty."""
        return {name: self._status(name) for name in (*self._services, *filter(_visible, self._models))}

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Return a service's status."""
        status = self._status(request.service)
        if status == SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, _UNKNOWN)
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield a service's status now and after each change."""
        last: int | None = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            elif self._closed:
                return
            else:
                await changed.wait()

    def _status(self, service: str) -> int:
        if not service and not self.serves_models:
            return NOT_SERVING  # as `/readyz` reports, because no call could succeed
        if service in self._services:
            return self._services[service]
        return self._models.get(service, SERVICE_UNKNOWN) if _visible(service) else SERVICE_UNKNOWN

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _visible(name: str) -> bool:
    """Return whether the running call may know of the model of a name, "model" or "model/version"."""
    return may_see(name.partition("/")[0])


_UNKNOWN = (
    "no such service; there are: the server (an empty name), its gRPC services by their full names, "
    'models as "name" and versions as "name/version"'
)
