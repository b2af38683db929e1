# Generated from async_local.py by scripts/generate_sync_client.py: edit that file, then `make generate`.
"""Connect to a server inside this process; loads the server's code, which nothing else in the SDK needs."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ganserve._argument_checks import check_choice
from ganserve._calls.channel import connect
from ganserve._calls.waiting import in_thread
from ganserve._config import ClientConfig, Provider, check_timeout, resolve_model
from ganserve._errors import InvalidRequest, MissingExtra

if TYPE_CHECKING:
    from ganserve._calls.channel import Connect
    from ganserve._calls.servers import Servers


def local_connection(
    models: str | os.PathLike[str] | None, model: str | None, provider: Provider, timeout_s: float
) -> tuple[ClientConfig, Connect]:
    """Return the configuration of `Client.local`, and the function that starts its server and connects to it."""
    module = _server_module("Client.local")
    folder = module.DEMO_MODELS if models is None else models
    config = _config(folder, model, provider, timeout_s)

    def start() -> Servers:
        server = module.LocalServer(Path(folder), provider)
        try:
            in_thread(server.ready.result)
        except module.LocalServerError as error:
            in_thread(server.close)
            raise InvalidRequest.of(error.argument, str(error)) from error
        servers = connect(replace(config, targets=(server.target,)))
        [endpoint] = servers.opened
        endpoint.target = config.target
        servers.close_last = partial(in_thread, server.close)
        return servers

    return config, start


def _config(models: str | os.PathLike[str], model: str | None, provider: Provider, timeout_s: float) -> ClientConfig:
    if not isinstance(models, str | os.PathLike) or not Path(models).is_dir():
        raise InvalidRequest.of("models", f"is {str(models)!r}; expected a folder of model packages, NAME/VERSION/")
    check_choice("provider", provider, get_args(Provider))
    return ClientConfig(
        targets=(f"local:{Path(models)}",), model=resolve_model(model), timeout_s=check_timeout(timeout_s)
    )


def _server_module(purpose: str) -> Any:
    """Import the server, without naming it where import checkers look: the SDK works without it."""
    try:
        return import_module("ganserve_server.local")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("ganserve"):  # our own mistake must not look like a missing package
            raise
        raise MissingExtra.of("server", missing, purpose) from error
