"""Fixtures for pytest: `pytest_plugins = ["ganserve.testing.fixtures"]` in a conftest.py."""

import os
from collections.abc import Iterator, Sequence

import pytest

from ganserve import Client
from ganserve.testing import RunningServer, TinyModel, build_package, running_server


@pytest.fixture(scope="session")
def ganserve_models() -> str | os.PathLike[str] | Sequence[TinyModel]:
    """The models of the server: tiny models, or a folder of model packages. Override it in your conftest.py."""
    return (TinyModel(),)


@pytest.fixture(scope="session")
def ganserve_server(ganserve_models: str | os.PathLike[str] | Sequence[TinyModel]) -> Iterator[RunningServer]:
    """Run a real server of `ganserve_models` for all tests of the session; its address is `ganserve_server.target`."""
    with running_server(ganserve_models) as server:
        yield server


@pytest.fixture
def ganserve_client(ganserve_server: RunningServer) -> Iterator[Client]:
    """Make a client of `ganserve_server`, closed after the test."""
    with ganserve_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def ganserve_local_client(
    ganserve_models: str | os.PathLike[str] | Sequence[TinyModel], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """Run the server of `ganserve_models` inside this process for all tests of the session, and make its client."""
    from ganserve import Client

    if isinstance(ganserve_models, str) or hasattr(ganserve_models, "__fspath__"):
        folder = ganserve_models
    else:
        folder = tmp_path_factory.mktemp("ganserve-models")
        for model in ganserve_models:
            build_package(folder, model)
    with Client.local(folder) as client:
        yield client
