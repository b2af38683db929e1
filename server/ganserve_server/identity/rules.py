"""Say for each RPC who may call it, and to which part of the server it belongs.

A method without a rule is refused. The tests compare this table with the descriptors of all services.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Part: TypeAlias = Literal["calls", "admin", "reflection", "open_inference", "health"]
"""A part of the server, which settings can switch off or move to another address."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule about who may call a method."""

    roles: frozenset[str]
    """Roles of which one is enough."""
    parts: frozenset[Part]
    """Parts of the server that must all be there."""
    open: bool = False
    """True if strangers may call it, too, where the server's health is open."""


def _rule(*roles: str, parts: tuple[Part, ...] = ("calls",), is_open: bool = False) -> Rule:
    return Rule(frozenset(roles), frozenset(parts), is_open)


_USERS = ("sample", "score", "admin")
_ANYBODY = (*_USERS, "metrics")
_HEALTH = _rule(*_ANYBODY, parts=("health",), is_open=True)
_REFLECTION = _rule(*_USERS, parts=("reflection",))
_INFERENCE_HEALTH = _rule(*_ANYBODY, parts=("open_inference",), is_open=True)
_INFERENCE_FACTS = _rule(*_USERS, parts=("open_inference",))
# The request decides which of the two: `open_inference.inference` asks for it.
_INFERENCE = _rule("sample", "score", parts=("open_inference",))
_INFERENCE_ADMIN = _rule("admin", parts=("open_inference", "admin"))
_ADMIN = _rule("admin", parts=("admin",))

RULES: dict[str, Rule] = {
    "/ganserve.v1.GanService/Sample": _rule("sample"),
    "/ganserve.v1.GanService/StreamSamples": _rule("sample"),
    "/ganserve.v1.GanService/Score": _rule("score"),
    "/ganserve.v1.GanService/StreamScores": _rule("score"),
    "/ganserve.v1.GanService/ListModels": _rule(*_USERS),
    "/ganserve.v1.GanService/GetModel": _rule(*_USERS),
    "/ganserve.v1.AdminService/LoadModel": _ADMIN,
    "/ganserve.v1.AdminService/UnloadModel": _ADMIN,
    "/ganserve.v1.AdminService/ReloadRepository": _ADMIN,
    "/inference.GRPCInferenceService/ServerLive": _INFERENCE_HEALTH,
    "/inference.GRPCInferenceService/ServerReady": _INFERENCE_HEALTH,
    "/inference.GRPCInferenceService/ModelReady": _INFERENCE_HEALTH,
    "/inference.GRPCInferenceService/ServerMetadata": _INFERENCE_FACTS,
    "/inference.GRPCInferenceService/ModelMetadata": _INFERENCE_FACTS,
    "/inference.GRPCInferenceService/ModelConfig": _INFERENCE_FACTS,
    "/inference.GRPCInferenceService/ModelStatistics": _INFERENCE_FACTS,
    "/inference.GRPCInferenceService/ModelInfer": _INFERENCE,
    "/inference.GRPCInferenceService/ModelStreamInfer": _INFERENCE,
    "/inference.GRPCInferenceService/RepositoryIndex": _INFERENCE_FACTS,
    "/inference.GRPCInferenceService/RepositoryModelLoad": _INFERENCE_ADMIN,
    "/inference.GRPCInferenceService/RepositoryModelUnload": _INFERENCE_ADMIN,
    "/inference.GRPCInferenceService/SystemSharedMemoryStatus": _INFERENCE_ADMIN,
    "/inference.GRPCInferenceService/SystemSharedMemoryRegister": _INFERENCE_ADMIN,
    "/inference.GRPCInferenceService/SystemSharedMemoryUnregister": _INFERENCE_ADMIN,
    "/inference.GRPCInferenceService/CudaSharedMemoryStatus": _INFERENCE_ADMIN,
    "/inference.GRPCInferenceService/CudaSharedMemoryRegister": _INFERENCE_ADMIN,
    "/inference.GRPCInferenceService/CudaSharedMemoryUnregister": _INFERENCE_ADMIN,
    "/inference.GRPCInferenceService/TraceSetting": _INFERENCE_ADMIN,
    "/inference.GRPCInferenceService/LogSettings": _INFERENCE_ADMIN,
    "/grpc.health.v1.Health/Check": _HEALTH,
    "/grpc.health.v1.Health/List": _HEALTH,
    "/grpc.health.v1.Health/Watch": _HEALTH,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _REFLECTION,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": _REFLECTION,
}
"""The rule of each method, by its full name."""
