"""Connect to a server inside this process; loads the server's code, which nothing else in the SDK needs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ganserve._calls.channel import async_connect, connect
from ganserve._config import ClientConfig, check_timeout
from ganserve._errors import InvalidRequest, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ganserve._calls.rotation import Endpoint

Provider: TypeAlias = Literal["auto", "cuda", "tensorrt", "cpu"]
"""Where models run: "auto" is CUDA where it works, otherwise the CPU; the others are that or an error."""


def local_connection(
    models: str | os.PathLike[str], provider: Provider, timeout_s: float
) -> tuple[ClientConfig, Callable[[], list[Endpoint]]]:
    """Return the configuration of `Client.local`, and the function that starts its server and connects to it.

    Raises:
        InvalidRequest: An argument is wrong.
        MissingExtra: The extra `server` is not installed.
    """
    config = _config(models, provider, timeout_s)
    module = _server_module("Client.local")

    def start() -> list[Endpoint]:
        server = module.LocalServer(Path(models), provider)
        try:
            server.ready.result()
        except module.LocalServerError as error:
            server.close()
            raise InvalidRequest.of(error.argument, str(error)) from error
        [endpoint] = connect(replace(config, targets=(server.target,)))
        close_channel = endpoint.close

        def close() -> None:
            close_channel()
            server.close()

        endpoint.target, endpoint.close = config.target, close
        return [endpoint]

    return config, start


def async_local_connection(
    models: str | os.PathLike[str], provider: Provider, timeout_s: float
) -> tuple[ClientConfig, Callable[[], Awaitable[list[Endpoint]]]]:
    """Return the configuration of `AsyncClient.local`, and the function that starts its server and connects to it.

    Raises:
        InvalidRequest: An argument is wrong.
        MissingExtra: The extra `server` is not installed.
    """
    config = _config(models, provider, timeout_s)
    module = _server_module("AsyncClient.local")

    async def start() -> list[Endpoint]:
        server = module.LocalServer(Path(models), provider)
        try:
            await asyncio.shield(asyncio.wrap_future(server.ready))
        except module.LocalServerError as error:
            await asyncio.to_thread(server.close)
            raise InvalidRequest.of(error.argument, str(error)) from error
        [endpoint] = await async_connect(replace(config, targets=(server.target,)))
        close_channel = endpoint.close

        async def close() -> None:
            await close_channel()
            await asyncio.to_thread(server.close)

        endpoint.target, endpoint.close = config.target, close
        return [endpoint]

    return config, start


def _config(models: str | os.PathLike[str], provider: Provider, timeout_s: float) -> ClientConfig:
    if not isinstance(models, str | os.PathLike) or not Path(models).is_dir():
        raise InvalidRequest.of("models", f"is {str(models)!r}; expected a folder of model packages, NAME/VERSION/")
    if provider not in get_args(Provider):
        expected = ", ".join(map(repr, get_args(Provider)))
        raise InvalidRequest.of("provider", f"is {provider!r}; expected one of {expected}")
    return ClientConfig(targets=(f"local:{Path(models)}",), timeout_s=check_timeout(timeout_s))


def _server_module(purpose: str) -> Any:
    """Import the server, without naming it where import checkers look: the SDK works without it.

    Raises:
        MissingExtra: A package that the server needs is not installed.
    """
    try:
        return import_module("ganserve_server.local")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("ganserve"):  # our own mistake must not look like a missing package
            raise
        raise MissingExtra.of("server", missing, purpose) from error
