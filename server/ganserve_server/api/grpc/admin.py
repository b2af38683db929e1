"""`ganserve.v1.AdminService`: loads and unloads models while the server runs."""
# ruff: noqa: ARG002, N802 - the methods' names and arguments are the protocol's

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc
from ganserve_server.errors import FieldViolation, InvalidRequestError

if TYPE_CHECKING:
    import grpc

    from ganserve_server.models.repository import Repository

    Context = grpc.aio.ServicerContext[Any, Any]


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """Passes messages on to `core.repository`, on another thread than the event loop's: loading takes seconds.

    A client that goes away does not stop what it began.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def LoadModel(
        self, request: admin_service_pb2.LoadModelRequest, context: Context
    ) -> admin_service_pb2.LoadModelResponse:
        """Load a version, or loads it again, and returns once it answers."""
        _check_name(request.model)
        model = await self._repository.off_loop(self._repository.load_model, request.model, request.version)
        return admin_service_pb2.LoadModelResponse(model=model)

    async def UnloadModel(
        self, request: admin_service_pb2.UnloadModelRequest, context: Context
    ) -> admin_service_pb2.UnloadModelResponse:
        """Unloads a version, or all; returns once it takes no more requests."""
        _check_name(request.model)
        model = await self._repository.off_loop(self._repository.unload_model, request.model, request.version)
        return admin_service_pb2.UnloadModelResponse(model=model)

    async def ReloadRepository(
        self, request: admin_service_pb2.ReloadRepositoryRequest, context: Context
    ) -> admin_service_pb2.ReloadRepositoryResponse:
        """Look at the repository again, and returns once all of it is loaded."""
        models = await self._repository.off_loop(self._repository.reload)
        return admin_service_pb2.ReloadRepositoryResponse(models=models)


def _check_name(name: str) -> None:
    if not name:
        raise InvalidRequestError([FieldViolation("model", "is empty; expected the name of a model in the repository")])
