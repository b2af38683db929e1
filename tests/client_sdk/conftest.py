"""Give both clients one interface, so that each test runs against both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from ganserve import AsyncClient, Client
from ports import closed_address
from server_process import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ganserve import ModelInfo, ModelSummary, PictureVerdict, SampleBatch, Scores
    from server_process import ServerProcess


class SyncApi:
    def __init__(self, client: Client) -> None:
        self.client = client

    def sample(self, *args: Any, **kwargs: Any) -> SampleBatch:
        return self.client.sample(*args, **kwargs)

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.stream(*args, **kwargs)

    def next(self, stream: Any) -> SampleBatch:
        return next(stream)

    def end(self, stream: Any) -> None:
        stream.close()

    def batches(self, *args: Any, **kwargs: Any) -> list[SampleBatch]:
        return list(self.stream(*args, **kwargs))

    def score(self, *args: Any, **kwargs: Any) -> Scores:
        return self.client.score(*args, **kwargs)

    def scored(self, *args: Any, **kwargs: Any) -> list[Scores]:
        return list(self.client.score_stream(*args, **kwargs))

    def score_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.score_stream(*args, **kwargs)

    def interpolate(self, *args: Any, **kwargs: Any) -> SampleBatch:
        return self.client.interpolate(*args, **kwargs)

    def verify(self, *args: Any, **kwargs: Any) -> PictureVerdict:
        return self.client.verify(*args, **kwargs)

    def models(self, **kwargs: Any) -> list[ModelSummary]:
        return self.client.models(**kwargs)

    def model(self, *args: Any, **kwargs: Any) -> ModelInfo:
        return self.client.model(*args, **kwargs)

    def wait_until_ready(self, *args: Any, **kwargs: Any) -> None:
        self.client.wait_until_ready(*args, **kwargs)

    def carry_out(self, call: Any) -> Any:
        """Send a call that the public methods would refuse."""
        return self.client._transport.unary(call)

    def close(self) -> None:
        self.client.close()


class AsyncApi:
    """Run each call of an `AsyncClient` to its end."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.runner = asyncio.Runner()

    def sample(self, *args: Any, **kwargs: Any) -> SampleBatch:
        return self.runner.run(self.client.sample(*args, **kwargs))

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.stream(*args, **kwargs)

    def next(self, stream: Any) -> SampleBatch:
        try:
            return self.runner.run(stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def end(self, stream: Any) -> None:
        self.runner.run(stream.close())

    def batches(self, *args: Any, **kwargs: Any) -> list[SampleBatch]:
        async def collect() -> list[SampleBatch]:
            return [batch async for batch in self.stream(*args, **kwargs)]

        return self.runner.run(collect())

    def score(self, *args: Any, **kwargs: Any) -> Scores:
        return self.runner.run(self.client.score(*args, **kwargs))

    def scored(self, *args: Any, **kwargs: Any) -> list[Scores]:
        async def collect() -> list[Scores]:
            return [scores async for scores in self.client.score_stream(*args, **kwargs)]

        return self.runner.run(collect())

    def score_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.score_stream(*args, **kwargs)

    def interpolate(self, *args: Any, **kwargs: Any) -> SampleBatch:
        return self.runner.run(self.client.interpolate(*args, **kwargs))

    def verify(self, *args: Any, **kwargs: Any) -> PictureVerdict:
        return self.runner.run(self.client.verify(*args, **kwargs))

    def models(self, **kwargs: Any) -> list[ModelSummary]:
        return self.runner.run(self.client.models(**kwargs))

    def model(self, *args: Any, **kwargs: Any) -> ModelInfo:
        return self.runner.run(self.client.model(*args, **kwargs))

    def wait_until_ready(self, *args: Any, **kwargs: Any) -> None:
        self.runner.run(self.client.wait_until_ready(*args, **kwargs))

    def carry_out(self, call: Any) -> Any:
        """Send a call that the public methods would refuse."""
        return self.runner.run(self.client._transport.unary(call))

    def close(self) -> None:
        if not self.runner.get_loop().is_closed():
            self.runner.run(self.client.close())


Api = SyncApi | AsyncApi


@pytest.fixture(params=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Api]]:
    """Make clients of one kind, and close them at the end."""
    made: list[Api] = []

    def make(target: str, **options: Any) -> Api:
        client = Client(target, **options) if request.param == "Client" else AsyncClient(target, **options)
        made.append(_api(client))
        return made[-1]

    yield make
    for api in made:
        _end(api)


@pytest.fixture(params=["Client.local", "AsyncClient.local"])
def connect_local(request: pytest.FixtureRequest) -> Iterator[Callable[..., Api]]:
    """Make clients of one kind with the service in this process, and close them at the end."""
    made: list[Api] = []

    def make(models: Path, **options: Any) -> Api:
        kind = Client if request.param == "Client.local" else AsyncClient
        made.append(_api(kind.local(models, **options)))
        return made[-1]

    yield make
    for api in made:
        _end(api)


@pytest.fixture(scope="session")
def local_apis(repository: Path) -> Iterator[dict[str, Api]]:
    """Make clients with the tiny models in this process."""
    apis = {
        "Client.local": _api(Client.local(repository)),
        "AsyncClient.local": _api(AsyncClient.local(repository)),
    }
    yield apis
    for api in apis.values():
        _end(api)


@pytest.fixture(params=["Client", "AsyncClient", "Client.local", "AsyncClient.local"])
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    """Return each kind of client: of the real server with the tiny models, or with them in this process."""
    if "local" in request.param:
        yield request.getfixturevalue("local_apis")[request.param]
        return
    server = request.getfixturevalue("server")
    api = _api(Client(server) if request.param == "Client" else AsyncClient(server))
    yield api
    _end(api)


def _api(client: Client | AsyncClient) -> Api:
    return SyncApi(client) if isinstance(client, Client) else AsyncApi(client)


def _end(api: Api) -> None:
    api.close()
    if isinstance(api, AsyncApi):
        api.runner.close()


@pytest.fixture(scope="session")
def own_server(repository: Path) -> Iterator[ServerProcess]:
    """Run a server that a test may suspend."""
    with running_server(repository) as process:
        yield process


@pytest.fixture(scope="session")
def closed_port() -> Iterator[str]:
    """Return an address without a listener."""
    with closed_address() as address:
        yield address
