"""Test what only `Client.local` does; other tests run with all clients."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ganserve
from ganserve import AsyncClient, Client, DeadlineExceeded, InvalidRequest, RequestCancelled, ServerError
from ganserve._calls import readiness as readiness_module
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Api


def test_it_runs_the_service_without_a_port(repository: Path) -> None:
    code = f"""
import os
from ganserve import Client
client = Client.local({str(repository)!r})
assert len(client.sample(3, model="tiny")) == 3
links = set()
for fd in os.listdir("/proc/self/fd"):
    try:
        links.add(os.readlink(f"/proc/self/fd/{{fd}}"))
    except FileNotFoundError:  # that of the listing itself
        pass
sockets = {{link for link in links if link.startswith("socket:[")}}
assert sockets, links  # the Unix socket and the event loop's pair
inodes = {{link[8:-1] for link in sockets}}
for table in ("tcp", "tcp6", "udp", "udp6"):
    lines = open(f"/proc/self/net/{{table}}").read().splitlines()[1:]
    assert not inodes & {{line.split()[9] for line in lines}}, table
print(client.target)
"""  # it also ends without close()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"local:{repository}\n", "")


USE = """
import asyncio, os, stat, sys
from pathlib import Path
from ganserve import AsyncClient, Client
folder, models, how = Path(os.environ["TMPDIR"]), sys.argv[1], sys.argv[2]
async def use():
    client = AsyncClient.local(models)
    await client.sample(2, model="tiny")
    if how == "close":
        await client.close()
client = Client.local(models)
assert len(client.sample(2, model="tiny")) == 2
[private] = folder.glob("ganserve-local-*") if len(str(folder)) < 80 else [None]
if private is not None:
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert [file.name for file in private.iterdir()] == ["socket"]
asyncio.run(use())
if how == "close":
    client.close()
elif how == "drop":
    del client
"""


@pytest.mark.parametrize("how", ["close", "drop", "exit"])
def test_it_cleans_up_the_temporary_folder_and_ignores_proxies(repository: Path, how: str) -> None:
    dead = "http://127.0.0.1:1"
    proxies = {"http_proxy": dead, "https_proxy": dead, "grpc_proxy": dead}
    with tempfile.TemporaryDirectory(prefix="t-") as short:
        killed = Path(short, "ganserve-local-killed", "socket")  # the leftovers of a killed process
        killed.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(killed))
        os.utime(killed, (0, 0))
        done = _run(USE, repository, how, environment=os.environ | proxies | {"TMPDIR": short})
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert not [*Path(short).glob("ganserve-local-*")]


def test_it_works_where_the_temporary_folder_has_a_long_path(repository: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)  # a Unix socket's path has at most 107 bytes
    deep.mkdir()
    done = _run(USE, repository, "exit", environment=os.environ | {"TMPDIR": str(deep)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not [*deep.glob("ganserve-local-*")]


def _run(code: str, *arguments: object, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_large_messages_pass(connect_local: Callable[..., Api], tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "wide", model=TinyModel(shape=(2**16,), label_names=()))
    api = connect_local(tmp_path)
    batch = api.sample(128, seed=1)  # 32 MiB; gRPC's own limit is 4
    assert batch.samples.nbytes == 32 * 2**20
    assert len(api.score(batch.samples[:48])) == 48  # 12 MiB; the server takes 16


def test_any_thread_may_use_it(repository: Path) -> None:
    with Client.local(repository) as client, ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda seed: client.sample(3, model="tiny", seed=seed), range(16)))
        assert [batch.seed for batch in batches] == list(range(16))


def test_event_loops_in_several_threads_each_have_a_client(repository: Path) -> None:
    async def use(seed: int) -> int | None:
        async with AsyncClient.local(repository) as client:
            batches = await asyncio.gather(*(client.sample(2, model="tiny", seed=seed) for _ in range(20)))
            return batches[0].seed

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda seed: asyncio.run(use(seed)), range(3))) == [0, 1, 2]


def test_samples_equal_those_of_a_server(connect_local: Callable[..., Api], repository: Path, server: str) -> None:
    api = connect_local(repository)
    assert api.client.target == f"local:{repository}"
    with Client(server) as remote:
        for name, label in (("tiny", "one"), ("tiny-rgb", None), ("tiny-vector", None), ("tiny-codes", 1)):
            here = api.sample(30, label, model=name, seed=11, offset=4, return_scores=True, return_latents=True)
            there = remote.sample(30, label, model=name, seed=11, offset=4, return_scores=True, return_latents=True)
            for field in ("samples", "labels", "scores", "probabilities", "latents"):
                np.testing.assert_array_equal(getattr(here, field), getattr(there, field))
        for ask in (
            lambda client: client.sample(1, "nine", model="tiny"),
            lambda client: client.sample(1, model="nope"),
            lambda client: client.sample(1, 0, model="tiny-unconditional"),
            lambda client: client.sample(10**7, model="tiny"),
            lambda client: client.score(np.zeros((8, 8), np.uint8), model="tiny"),
            lambda client: client.model("tiny", 9),
        ):
            errors = []
            for client in (api, remote):
                with pytest.raises(ganserve.GanserveError) as caught:
                    ask(client)
                errors.append(caught.value)
            one, other = errors
            assert type(one) is type(other)
            assert (one.code, one.details, one.violations) == (other.code, other.details, other.violations)
            assert str(one).replace(str(one.request_id), "") == str(other).replace(str(other.request_id), "")
        assert [summary.name for summary in api.models()] == [summary.name for summary in remote.models()]
        assert api.model("tiny").files == remote.model("tiny").files


def test_a_package_added_later_is_found(
    connect_local: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness_module, "_UNKNOWN_S", 120.0)  # the usual time can be too short on a busy machine
    build_tiny_package(tmp_path, "first")
    api = connect_local(tmp_path)
    assert [model.name for model in api.models()] == ["first"]
    build_tiny_package(tmp_path, "second")
    api.wait_until_ready(120, model="second")
    assert len(api.sample(2, model="second")) == 2


@pytest.mark.parametrize(
    ("models", "options", "field", "message"),
    [
        ("missing", {}, "models", r"is '.*missing'; expected a folder of model packages, NAME/VERSION/"),
        (7, {}, "models", "is '7'; expected a folder"),
        ("", {"provider": "gpu"}, "provider", "is 'gpu'; expected one of 'auto', 'cuda', 'tensorrt', 'cpu'"),
        ("", {"timeout_s": 0}, "timeout_s", "is 0"),
    ],
)
def test_invalid_arguments(
    connect_local: Callable[..., Api], tmp_path: Path, models: Any, options: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        connect_local(tmp_path / models if isinstance(models, str) else models, **options)
    assert caught.value.violations[0].field == field


def test_nothing_to_serve(connect_local: Callable[..., Api], tmp_path: Path) -> None:
    def use() -> None:
        connect_local(tmp_path).models()

    with pytest.raises(
        InvalidRequest, match=r"models: there is nothing to serve in .*: write a package with"
    ) as caught:
        use()
    assert caught.value.violations[0].field == "models"
    assert "--models" not in str(caught.value)
    assert "--allow-empty" not in str(caught.value)
    folder = build_tiny_package(tmp_path)
    with pytest.raises(InvalidRequest, match=r"is one model's folder\. Give the folder above it"):
        connect_local(folder.parent).models()


def test_an_unavailable_provider(connect_local: Callable[..., Api], repository: Path) -> None:
    if "CUDAExecutionProvider" in _providers(repository):
        pytest.skip("this machine has a GPU")
    with pytest.raises(InvalidRequest, match="CUDA was requested but is not available") as caught:
        connect_local(repository, provider="cuda").models()
    assert caught.value.violations[0].field == "provider"


def _providers(repository: Path) -> set[str]:
    with Client.local(repository) as client:
        return {provider for engine in client.model("tiny").engines for provider in engine.providers}


def test_without_the_extra_the_error_says_how_to_install_it(repository: Path) -> None:
    code = f"""
import sys
sys.modules["onnxruntime"] = None  # as if it were not installed
from ganserve import AsyncClient, Client, MissingExtra
for kind in (Client, AsyncClient):
    try:
        kind.local({str(repository)!r})
    except MissingExtra as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    message = "local needs onnxruntime, which is not installed: pip install 'ganserve[server]'"
    assert done.stdout.splitlines() == [f"Client.{message}", f"AsyncClient.{message}"]


def test_loading_counts_against_the_deadline_of_the_first_call(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganserve_server import local

    go_on = threading.Event()
    load = local.load

    def load_later(config: Any) -> Any:
        go_on.wait()
        return load(config)

    async def use() -> None:
        async with AsyncClient.local(repository) as client:
            with pytest.raises(DeadlineExceeded, match="was not ready in time"):
                await client.models(timeout_s=0.01)
            stream = client.stream(3, model="tiny", timeout_s=0.01)
            with pytest.raises(DeadlineExceeded):
                await anext(stream)
            waiting = asyncio.create_task(client.sample(1, model="tiny"))
            go_on.set()
            assert len(await waiting) == 1

    monkeypatch.setattr(local, "load", load_later)
    asyncio.run(use())


def test_deadlines(connect_local: Callable[..., Api], repository: Path) -> None:
    api = connect_local(repository)
    api.models()
    with pytest.raises(
        DeadlineExceeded, match=r"did not answer within 0\.001 s|the deadline passed in the queue"
    ) as caught:
        api.sample(100_000, model="tiny-rgb", timeout_s=0.001)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    stream = api.stream(10**7, model="tiny-rgb", chunk_size=20_000, timeout_s=0.001)
    with pytest.raises(DeadlineExceeded):
        api.next(stream)
    assert len(api.sample(1, model="tiny")) == 1


def test_closing_ends_the_threads_and_the_calls(repository: Path) -> None:
    before = _threads()
    client = Client.local(repository)
    stream = client.stream(10**9, model="tiny", chunk_size=1000)
    next(stream)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                client.sample(50_000, model="tiny")
        except ganserve.GanserveError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    next(stream)
    client.close()
    client.close()
    thread.join(60)
    assert [type(error) in (RequestCancelled, ganserve.ClientClosed) for error in errors] == [True]
    with pytest.raises(ganserve.GanserveError):
        next(stream)
    with pytest.raises(ganserve.ClientClosed):
        client.models()
    assert _threads() == before


def test_closing_the_async_client_ends_its_calls(repository: Path) -> None:
    before = _threads()

    async def main() -> None:
        client = AsyncClient.local(repository)
        await client.models()
        task = asyncio.create_task(_ask_on(client))
        stream = client.stream(10**9, model="tiny", chunk_size=1000)
        await anext(stream)
        cancelled = asyncio.create_task(client.sample(10_000, model="tiny"))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await client.close()
        with pytest.raises((RequestCancelled, ganserve.ClientClosed)):
            await task
        with pytest.raises(ganserve.GanserveError):
            await anext(stream)

    asyncio.run(main())
    assert _threads() == before


def _threads() -> set[threading.Thread]:
    """Return the threads of all services in this process; other tests' clients may have some."""
    return {thread for thread in threading.enumerate() if thread.name == "ganserve-local"}


async def _ask_on(client: AsyncClient) -> None:
    while True:
        await client.sample(50_000, model="tiny")


def test_dropping_a_client_ends_its_service(repository: Path) -> None:
    before = _threads()
    client: Client | None = Client.local(repository)
    threads = _threads() - before
    assert len(threads) == 1
    client = None  # noqa: F841
    gc.collect()
    deadline = time.monotonic() + 60
    while any(thread.is_alive() for thread in threads):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_failure_of_the_service_gives_the_error_of_a_server(
    connect_local: Callable[..., Api],
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from ganserve_server.service import GanService

    api = connect_local(repository)
    api.models()
    monkeypatch.setattr(GanService, "list_models", lambda self: 1 / 0)
    with pytest.raises(ServerError, match="its log has the reason at request id") as caught:
        api.models()
    assert caught.value.code == "INTERNAL"
    assert any(str(caught.value.request_id) in record.getMessage() for record in caplog.records)
