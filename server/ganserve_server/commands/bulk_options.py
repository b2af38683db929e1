"""Options that `ganserve generate` and `ganserve score-bulk` share: the model and the machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import UsageError, flag
from ganserve._command_framework.process import BAD_USAGE, FAILED
from ganserve_server.errors import GanserveServerError, JobError, StartupError

if TYPE_CHECKING:
    from ganserve_server.bulk.tasks import Elsewhere
    from ganserve_server.settings import ServerConfig


@dataclass(frozen=True, kw_only=True)
class BulkArguments:
    """The model, and the machines."""

    models: Path = flag(Path("models"), last=True)
    """Folder of model packages, <name>/<version>/."""
    demo: bool = flag(False, last=True)
    """Use the model that comes with ganserve, handwritten digits, in place of --models."""
    model: str | None = flag(None, last=True)
    """The model's name. Without it, the folder's only model."""
    version: int | None = flag(None, last=True)
    """The model's version. Without it, the newest one."""
    provider: Literal["auto", "cuda", "tensorrt", "openvino", "cpu"] = flag("auto", last=True)
    """Execution provider, as in `ganserve serve`. auto: CUDA if available, else the CPU; on Ray, CUDA with --ray-gpus,
    else the CPU."""
    bfloat16: bool = flag(False, last=True)
    """Let OpenVINO compute samples in bfloat16, as in `ganserve serve`."""
    ray: str | None = flag(None, metavar="ADDRESS", last=True)
    """Run on a Ray cluster: auto for the cluster of this machine, else its address. Without it, run on all cores of
    this machine."""
    ray_cpus: int = flag(1, last=True)
    """CPUs of each worker on Ray; each worker loads the model."""
    ray_gpus: float = flag(0.0, last=True)
    """GPUs of each worker on Ray, such as 1, or 0.5 for two workers on one."""

    def config(self) -> ServerConfig:
        """Return the settings of this machine's server that the work needs."""
        from ganserve_server.settings import ServerConfig

        if self.ray_cpus < 1:
            raise UsageError(f"--ray-cpus {self.ray_cpus}: must be at least 1.")
        if not 0 <= self.ray_gpus <= 1024:
            raise UsageError(f"--ray-gpus {self.ray_gpus:g}: must be 0 to 1024.")
        if self.ray_gpus > 1 and self.ray_gpus % 1:
            raise UsageError(f"--ray-gpus {self.ray_gpus:g}: must be a whole number above 1. Give 1, 2 or more.")
        provider = self.provider
        if self.ray is not None and provider == "auto":
            provider = "cuda" if self.ray_gpus else "cpu"
        try:
            return ServerConfig(models=self.models, demo=self.demo, provider=provider, bfloat16=self.bfloat16)
        except ValueError as error:
            raise UsageError(str(error)) from None

    def elsewhere(self) -> Elsewhere | None:
        """Return the runner on the cluster; None without --ray."""
        if self.ray is None:
            return None
        try:
            from ganserve_server.ray.bulk import on_cluster
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("ganserve"):
                raise
            raise UsageError(
                f"--ray {self.ray}: needs {error.name}, which is not installed. Run pip install 'ganserve[ray]'."
            ) from None
        return on_cluster(self.ray, self.ray_cpus, self.ray_gpus)


def check_place(name: str, place: str) -> None:
    """Refuse an empty path, and the hyphen that stands for a standard stream elsewhere."""
    if not place:
        raise UsageError(f"{name}: is empty. Give a folder or a URL.")
    if place in ("-", "./-"):  # the parser's spelling of a lone hyphen
        raise UsageError(f"{name} -: standard streams cannot be used. Give a folder or a URL.")


def bulk_command(name: str, arguments: type[Any], action: Callable[[Any], int], examples: tuple[str, ...]) -> Command:
    """Return a command whose work can be stopped and continued."""
    return Command(
        name=name,
        arguments=arguments,
        action=action,
        examples=examples,
        exit_codes={StartupError: BAD_USAGE, JobError: BAD_USAGE, GanserveServerError: FAILED},
        interrupted="stopped. Run the same command again to continue: finished shards stay.",
    )
