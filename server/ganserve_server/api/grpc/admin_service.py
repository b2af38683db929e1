"""Serve `ganserve.v1.AdminService`: load and unload models while the server runs."""
# ruff: noqa: ARG002, N802 - the protocol defines names and arguments

from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc
from ganserve_server.api.grpc.gan_service import Context
from ganserve_server.errors import invalid_field
from ganserve_server.models.repository import Repository


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """Changes the repository on a separate thread, because loading takes seconds.

    A change continues after its client leaves.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def LoadModel(
        self, request: admin_service_pb2.LoadModelRequest, context: Context
    ) -> admin_service_pb2.LoadModelResponse:
        """Load a version, even if it is loaded already, and return once it answers."""
        _check_name(request.model)
        model = await self._repository.off_loop(self._repository.load_model, request.model, request.version)
        return admin_service_pb2.LoadModelResponse(model=model)

    async def UnloadModel(
        self, request: admin_service_pb2.UnloadModelRequest, context: Context
    ) -> admin_service_pb2.UnloadModelResponse:
        """Unload a version, or all; return once new requests are refused."""
        _check_name(request.model)
        model = await self._repository.off_loop(self._repository.unload_model, request.model, request.version)
        return admin_service_pb2.UnloadModelResponse(model=model)

    async def ReloadRepository(
        self, request: admin_service_pb2.ReloadRepositoryRequest, context: Context
    ) -> admin_service_pb2.ReloadRepositoryResponse:
        """Scan the repository again and return once all of it is loaded."""
        models = await self._repository.off_loop(self._repository.reload)
        return admin_service_pb2.ReloadRepositoryResponse(models=models)


def _check_name(name: str) -> None:
    if not name:
        raise invalid_field("model", "is empty; expected the name of a model in the repository")
