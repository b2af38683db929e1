"""Test that versions are unloaded after their requests have finished."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from ganserve.v1 import gan_service_pb2
from ganserve_server.errors import FailedPreconditionError, UnavailableError
from ganserve_server.models.leases import Leases
from ganserve_server.models.repository import Repository
from ganserve_server.queue.options import QueueOptions
from in_process import in_process_server
from repositories import BATCH, ENGINE, FAILED, READY, UNLOADED, break_package, states, wait_for
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    pass


def test_requests_finish_on_the_version_they_started_on(repository: Repository, models: Path) -> None:
    with repository.lease("tiny", 1) as model:
        repository.unload_model("tiny", 1)
        with pytest.raises(UnavailableError, match="not ready"):
            repository.resolve("tiny", 1)
        work = asyncio.run(model.generator.submit(_work(model), 20, QueueOptions()))
        assert sum(len(part[0]) for part in work) == 20
    wait_for(lambda: states(repository)["tiny"][1] == UNLOADED, "the version to be unloaded")
    with pytest.raises(FailedPreconditionError, match="is not loaded: load it with AdminService"):
        repository.resolve("tiny", 1)


def _work(model: object) -> object:
    from ganserve_server.models.model import GeneratorWork

    return GeneratorWork(seed=1, labels=0 if model.info.label_names else None)


def test_requests_of_an_unloaded_version_are_cut_off_after_the_timeout(models: Path) -> None:
    repository = Repository(models, ENGINE, BATCH, drain_timeout_s=0.1)
    repository.load()
    with repository.lease("tiny", 1) as model:
        repository.unload_model("tiny", 1)
        wait_for(lambda: states(repository)["tiny"][1] == UNLOADED, "the version to be cut off")
        with pytest.raises(UnavailableError, match="was unloaded"):
            asyncio.run(model.generator.submit(_work(model), 1, QueueOptions()))
    repository.close()


def test_closing_does_not_wait_for_an_unloaded_versions_requests(models: Path) -> None:
    repository = Repository(models, ENGINE, BATCH, drain_timeout_s=3600)
    repository.load()
    with repository.lease("tiny", 1):
        repository.unload_model("tiny", 1)
        repository.close()


def test_an_unloaded_version_stays_unloaded_until_loaded_by_number(repository: Repository, models: Path) -> None:
    repository.unload_model("tiny", 0)
    build_tiny_package(models, "other", version=1)
    repository.reload()
    wait_for(lambda: states(repository) == {"other": {1: READY}, "tiny": {1: UNLOADED}}, "tiny to be unloaded")
    assert repository.load_model("tiny", 1).latest == 1
    assert repository.resolve("tiny", 0).info.version == 1


def test_only_the_newest_versions_are_kept(models: Path) -> None:
    for version in (2, 3):
        build_tiny_package(models, "tiny", version=version)
    repository = Repository(models, ENGINE, BATCH, newest=1)
    repository.load()
    assert states(repository) == {"tiny": {1: UNLOADED, 2: UNLOADED, 3: READY}}
    assert repository.load_model("tiny", 1).latest == 3
    break_package(build_tiny_package(models, "tiny", version=4))
    build_tiny_package(models, "tiny", version=5)
    repository.reload()
    wait_for(
        lambda: states(repository) == {"tiny": {1: READY, 2: UNLOADED, 3: UNLOADED, 4: UNLOADED, 5: READY}},
        "version 3 to make room, and version 1 to stay, as it was asked for",
    )
    shutil.rmtree(models / "tiny" / "5")
    repository.reload()
    wait_for(
        lambda: states(repository) == {"tiny": {1: READY, 2: UNLOADED, 3: READY, 4: FAILED}},
        "the newest that can be loaded to take its place",
    )
    repository.close()


def test_leases_hold_until_the_last_one_ends() -> None:
    leases, never = Leases(), threading.Event()
    assert leases.acquire()
    assert leases.acquire()
    leases.retire()
    assert not leases.acquire()
    assert leases.wait_until_unused(0, never) == 2
    leases.release()
    threading.Timer(0.05, leases.release).start()
    assert leases.wait_until_unused(20, never) == 0


def test_unloading_a_broken_version_clears_its_failure(repository: Repository, models: Path) -> None:
    break_package(build_tiny_package(models, "tiny", version=2))
    repository.reload()
    summary = repository.unload_model("tiny", 2)
    assert (summary.versions[1].state, summary.versions[1].reason) == (UNLOADED, "")


def test_a_stream_ends_on_the_version_it_started_on(models: Path) -> None:
    async def scenario() -> None:
        async with in_process_server(models) as server:
            request = gan_service_pb2.SampleRequest(model="tiny", count=2000, seed=3)
            stream = server.gan.StreamSamples(gan_service_pb2.StreamSamplesRequest(request=request, chunk_size=10))
            chunks = [await stream.read()]
            build_tiny_package(models, "tiny", version=2)
            await asyncio.to_thread(server.repository.load_model, "tiny", 2)
            await asyncio.to_thread(server.repository.unload_model, "tiny", 1)
            latest = await server.gan.Sample(gan_service_pb2.SampleRequest(model="tiny", count=1))
            assert latest.version == 2
            while (response := await stream.read()) is not grpc.aio.EOF:
                chunks.append(response)
            assert sum(len(response.chunk.label_indices) for response in chunks) == 2000
            assert {response.chunk.version for response in chunks} == {1}

    asyncio.run(scenario())
