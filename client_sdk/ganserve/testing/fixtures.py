"""Fixtures for pytest: `pytest_plugins = ["ganserve.testing.fixtures"]` in a conftest.py."""

from collections.abc import Iterator

import pytest

from ganserve import Client
from ganserve.testing import RunningServer, TinyModel, running_server
from ganserve.testing._packages import Models, folder_of


@pytest.fixture(scope="session")
def ganserve_models() -> Models:
    """The models of the server: tiny models, or a folder of model packages. Override it in your conftest.py."""
    return (TinyModel(),)


@pytest.fixture(scope="session")
def ganserve_server(ganserve_models: Models) -> Iterator[RunningServer]:
    """Run a real server of `ganserve_models` for all tests of the session; its address is `ganserve_server.target`."""
    with running_server(ganserve_models) as server:
        yield server


@pytest.fixture
def ganserve_client(ganserve_server: RunningServer) -> Iterator[Client]:
    """Make a client of `ganserve_server`, closed after the test."""
    with ganserve_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def ganserve_local_client(ganserve_models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Run the server of `ganserve_models` inside this process for all tests of the session, and make its client."""
    folder = folder_of(ganserve_models, tmp_path_factory.mktemp("ganserve-models"))
    with Client.local(folder) as client:
        yield client
