"""The service inside this process: finds the server's code, which only this needs."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ganserve._config import ClientConfig, check_timeout
from ganserve._errors import InvalidRequest, MissingExtra
from ganserve._rotation import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Provider: TypeAlias = Literal["auto", "cuda", "tensorrt", "cpu"]
"""Where models run: on CUDA where that can be had, else on the CPU; or on that and nothing else."""


def local_config(models: str | os.PathLike[str], timeout_s: float) -> ClientConfig:
    """The configuration of a client whose service is in this process.

    Raises:
        InvalidRequest: There is no such folder, or the deadline makes no sense.
    """
    if not isinstance(models, str | os.PathLike) or not Path(models).is_dir():
        raise InvalidRequest.of("models", f"is {str(models)!r}; expected a folder of model packages, NAME/VERSION/")
    return ClientConfig(targets=(f"local:{Path(models)}",), timeout_s=check_timeout(timeout_s))


def local_endpoint(
    models: str | os.PathLike[str], provider: Provider, timeout_s: float
) -> tuple[ClientConfig, list[Endpoint]]:
    """What a transport needs for a service in this process; see `Client.local`."""
    module, config = _module("Client.local"), local_config(models, timeout_s)
    try:
        service = module.LocalService(Path(models), provider)
    except module.StartupError as error:
        raise InvalidRequest.of("models", str(error)) from error
    return config, [Endpoint(config.target, service.stub, service.close)]


def async_local_endpoint(
    models: str | os.PathLike[str], provider: Provider, timeout_s: float
) -> tuple[ClientConfig, Callable[[], list[Endpoint]]]:
    """What an asyncio transport needs for a service in this process; see `AsyncClient.local`."""
    module, config = _module("AsyncClient.local"), local_config(models, timeout_s)

    def connect() -> list[Endpoint]:
        service = module.AsyncLocalService(Path(models), provider)
        return [Endpoint(config.target, service.stub, service.close)]

    return config, connect


def _module(purpose: str) -> Any:
    """The module of the server that does the work.

    Raises:
        MissingExtra: What it needs is not installed.
    """
    try:
        module: ModuleType = import_module("ganserve_server.local")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("ganserve"):  # a defect of ours, to be seen
            raise
        raise MissingExtra.of("server", missing, purpose) from error
    return module
