"""The service inside this process: finds the server's code, which only this needs."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ganserve._calls.rotation import Endpoint
from ganserve._config import ClientConfig, check_timeout
from ganserve._errors import InvalidRequest, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Provider: TypeAlias = Literal["auto", "cuda", "tensorrt", "cpu"]
"""Where models run: on CUDA where that can be had, else on the CPU; or on that and nothing else."""


def local_endpoint(
    models: str | os.PathLike[str], provider: Provider, timeout_s: float
) -> tuple[ClientConfig, list[Endpoint]]:
    """What a transport needs for a service in this process, whose models are loaded; see `Client.local`.

    Raises:
        InvalidRequest: An argument makes no sense, or there is nothing to serve.
        MissingExtra: The extra `server` is not installed.
    """
    config = _config(models, provider, timeout_s)
    module = _module("Client.local")
    service = module.LocalService(Path(models), provider)
    try:
        service.wait()
    except module.StartupError as error:
        service.close()
        field = "provider" if isinstance(error, module.ProviderError) else "models"
        raise InvalidRequest.of(field, module.without_flags(error)) from error
    return config, [Endpoint(config.target, service.stub, service.close)]


def async_local_endpoint(
    models: str | os.PathLike[str], provider: Provider, timeout_s: float
) -> tuple[ClientConfig, Callable[[], list[Endpoint]]]:
    """What an asyncio transport needs for a service in this process; see `AsyncClient.local`.

    Raises:
        InvalidRequest: An argument makes no sense.
        MissingExtra: The extra `server` is not installed.
    """
    config = _config(models, provider, timeout_s)
    module = _module("AsyncClient.local")

    def connect() -> list[Endpoint]:
        service = module.LocalService(Path(models), provider)
        return [Endpoint(config.target, service.async_stub, service.close_async)]

    return config, connect


def _config(models: str | os.PathLike[str], provider: Provider, timeout_s: float) -> ClientConfig:
    if not isinstance(models, str | os.PathLike) or not Path(models).is_dir():
        raise InvalidRequest.of("models", f"is {str(models)!r}; expected a folder of model packages, NAME/VERSION/")
    if provider not in get_args(Provider):
        expected = ", ".join(map(repr, get_args(Provider)))
        raise InvalidRequest.of("provider", f"is {provider!r}; expected one of {expected}")
    return ClientConfig(targets=(f"local:{Path(models)}",), timeout_s=check_timeout(timeout_s))


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
