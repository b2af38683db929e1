"""The server's core as an application of Ray Serve: replicas on a cluster, behind Ray's proxies for gRPC and HTTP.

    serve run ganserve_server.ray.app:build models=/shared/models max_replicas=8

examples/cluster/ray-serve.yaml is a whole configuration. Each replica loads the models of a folder that all machines
see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ray import serve
from ray.serve import Application

from ganserve_server.errors import StartupError
from ganserve_server.ray.replica import Replica
from ganserve_server.settings import ServerConfig

GRPC_SERVICERS = (
    "ganserve.v1.gan_service_pb2_grpc.add_GanServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
)
"""Functions that tell Ray's gRPC proxy which methods there are: `grpc_servicer_functions` of Serve's configuration."""
_LIMITS = (("min_replicas", 0), ("max_replicas", 1), ("queue", 1), ("cpus", 1), ("gpus", 0), ("newest_versions", 0))


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Settings of the application; `serve run` and its configuration file give them by name."""

    models: str = "models"
    """Folder of model packages, the same on all machines."""
    demo: bool = False
    """Serve the model that comes with ganserve in place of `models`."""
    provider: Literal["auto", "cuda", "tensorrt", "openvino", "cpu"] = "auto"
    """Execution provider. auto: CUDA with `gpus`, else the CPU."""
    bfloat16: bool = False
    """Let OpenVINO compute samples in bfloat16."""
    newest_versions: int = 0
    """Load this many of each model's newest versions. 0: all."""
    min_replicas: int = 2
    max_replicas: int = 2
    queue: int = 8
    """Calls that a replica should have, running and waiting: with more there will be further replicas."""
    cpus: int = 1
    """CPUs of a replica."""
    gpus: float = 0.0
    """GPUs of a replica, such as 1, or 0.5 for two replicas on one."""

    def __post_init__(self) -> None:
        for name, least in _LIMITS:
            if getattr(self, name) < least:
                raise StartupError(f"{name} {getattr(self, name)}: must be at least {least}.")
        if not self.gpus <= 1 and self.gpus % 1 != 0:  # also not a number
            raise StartupError(f"gpus {self.gpus:g}: must be a whole number above 1. Give 1, 2 or more.")
        if self.max_replicas < self.min_replicas:
            raise StartupError(f"max_replicas {self.max_replicas}: must be at least min_replicas, {self.min_replicas}.")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ClusterConfig:
        """Read settings, whose values may be texts; raise StartupError, which names what is wrong."""
        kinds = {field.name: type(field.default) for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in kinds:
                raise StartupError(f"{name}: no such setting. There are {', '.join(kinds)}.")
            values[name] = _read(name, str(value), kinds[name])
        return cls(**values)

    def server(self) -> ServerConfig:
        """Return the settings of the server's core in a replica."""
        provider = self.provider
        if provider == "auto":
            provider = "cuda" if self.gpus else "cpu"
        try:
            return ServerConfig(
                models=Path(self.models),
                demo=self.demo,
                provider=provider,
                bfloat16=self.bfloat16,
                newest_versions=self.newest_versions,
                workers=0 if self.gpus else self.cpus,
                threads=0 if self.gpus else 1,
                lone_threads=0 if self.gpus else self.cpus,
            )
        except ValueError as error:
            raise StartupError(str(error)) from error


def build(settings: Mapping[str, Any]) -> Application:
    """Return the application; `settings` are those of `ClusterConfig`."""
    config = ClusterConfig.of(settings)
    deployment = serve.deployment(
        name="ganserve",
        # A replica queues what it cannot compute at once, and refuses what is too much.
        max_ongoing_requests=max(256, 4 * config.queue),
        autoscaling_config={
            "min_replicas": config.min_replicas,
            "max_replicas": config.max_replicas,
            "target_ongoing_requests": config.queue,
        },
        ray_actor_options={"num_cpus": config.cpus, "num_gpus": config.gpus},
        health_check_period_s=5,
    )
    return deployment(Replica).bind(config.server())


def _read(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise StartupError(f"{name} {text}: not true or false.")
        return text.lower() == "true"
    try:
        value = kind(text)
    except ValueError:
        raise StartupError(f"{name} {text}: not a number. Give one, such as 1.") from None
    if name == "provider" and value not in ("auto", "cuda", "tensorrt", "openvino", "cpu"):
        raise StartupError(f"provider {text}: not a choice. Give one of auto, cuda, tensorrt, openvino, cpu.")
    return value
