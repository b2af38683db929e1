"""Test that a repository follows its folder and loads versions on request."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.errors import FailedPreconditionError, NotFoundError, UnavailableError
from ganserve_server.models.repository import Repository
from in_process import in_process_server
from repositories import FAILED, READY, UNLOADED, break_package, states, wait_for
from tiny_packages import build_tiny_package, read_manifest, write_manifest

if TYPE_CHECKING:
    pass


def test_a_new_version_is_the_latest_once_it_is_loaded(repository: Repository, models: Path) -> None:
    build_tiny_package(models, "tiny", version=2)
    assert repository.resolve("tiny", 0).info.version == 1
    (summary,) = repository.reload()
    assert summary.latest == 2
    assert repository.resolve("tiny", 0).info.version == 2
    assert repository.resolve("tiny", 1).info.version == 1


def test_a_broken_version_is_refused_and_the_previous_one_keeps_serving(repository: Repository, models: Path) -> None:
    break_package(build_tiny_package(models, "tiny", version=2))
    (summary,) = repository.reload()
    assert summary.latest == 1
    assert states(repository) == {"tiny": {1: READY, 2: FAILED}}
    assert "generator.onnx has 6 bytes" in summary.versions[1].reason
    assert repository.resolve("tiny", 0).info.version == 1
    with pytest.raises(FailedPreconditionError, match=r"version 2 .* could not be loaded: generator"):
        repository.resolve("tiny", 2)


def test_a_repaired_version_is_loaded(repository: Repository, models: Path) -> None:
    folder = build_tiny_package(models, "tiny", version=2)
    whole = (folder / "generator.onnx").read_bytes()
    break_package(folder)
    repository.reload()
    (folder / "generator.onnx").write_bytes(whole)
    repository.reload()
    assert states(repository) == {"tiny": {1: READY, 2: READY}}


def test_a_loaded_version_keeps_serving_when_its_files_break(repository: Repository, models: Path) -> None:
    model = repository.resolve("tiny", 1)
    break_package(models / "tiny" / "1")
    (summary,) = repository.reload()
    assert repository.resolve("tiny", 1) is model
    assert summary.versions[0].state == READY
    assert "generator.onnx has 6 bytes" in summary.versions[0].reason
    with pytest.raises(FailedPreconditionError, match="could not be loaded"):
        repository.load_model("tiny", 1)
    assert repository.resolve("tiny", 1) is model


def test_a_changed_version_is_reloaded(repository: Repository, models: Path) -> None:
    before = repository.resolve("tiny", 1)
    spec = read_manifest(models / "tiny" / "1")
    spec.label_names[0] = "renamed"
    write_manifest(models / "tiny" / "1", spec)
    repository.reload()
    after = repository.resolve("tiny", 1)
    assert after is not before
    assert after.info.label_names[0] == "renamed"
    wait_for(lambda: not before.leases.acquire(), "the old one to retire")


def test_an_unchanged_version_is_not_reloaded(repository: Repository, models: Path) -> None:
    folder, model = models / "tiny" / "1", repository.resolve("tiny", 1)
    for change in (
        lambda: os.utime(folder / "generator.onnx", (1, 1)),
        lambda: (folder / "critic.onnx").chmod(0o600),
        lambda: (folder / "stray").write_text("…"),
        lambda: (folder / "stray").unlink(),
        lambda: (folder / "generator.onnx").write_bytes((folder / "generator.onnx").read_bytes()),
    ):
        change()
        repository.reload()
        assert repository.load_model("tiny", 1).versions[0].state == READY
        assert repository.resolve("tiny", 1) is model


def test_removed_versions_and_models_are_unloaded(repository: Repository, models: Path) -> None:
    build_tiny_package(models, "tiny", version=2)
    build_tiny_package(models, "other", version=1)
    repository.reload()
    shutil.rmtree(models / "tiny" / "2")
    shutil.rmtree(models / "other")
    repository.reload()
    wait_for(lambda: states(repository) == {"tiny": {1: READY}}, "the removed versions to go")
    with pytest.raises(NotFoundError, match="no model 'other'"):
        repository.resolve("other", 0)


@pytest.mark.parametrize("watched", [False, True])
def test_a_replaced_version_answers_until_the_new_one_does(
    repository: Repository, models: Path, tmp_path: Path, *, watched: bool
) -> None:
    folder = build_tiny_package(tmp_path, "tiny", version=2)
    shutil.rmtree(models / "tiny" / "1")
    folder.rename(models / "tiny" / "2")
    if watched:
        repository.watch(0.05)
    else:
        threading.Thread(target=repository.reload).start()
    # Raises an error if no version answers for a moment.
    wait_for(lambda: repository.resolve("tiny", 0).info.version == 2, "the new version")
    wait_for(lambda: states(repository) == {"tiny": {2: READY}}, "the old version to go")


def test_a_replaced_version_goes_when_the_new_one_is_broken(repository: Repository, models: Path) -> None:
    break_package(build_tiny_package(models, "tiny", version=2))
    shutil.rmtree(models / "tiny" / "1")
    repository.reload()
    wait_for(lambda: states(repository) == {"tiny": {2: FAILED}}, "the old version to go")


def test_a_new_package_can_be_loaded_at_once(repository: Repository, models: Path) -> None:
    build_tiny_package(models, "tiny", version=7)
    build_tiny_package(models, "tiny", version=8)
    assert repository.load_model("tiny", 7).latest == 7
    assert repository.load_model("tiny", 0).latest == 8


def test_loading_missing_packages(repository: Repository, models: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no model '\.\./tiny'; there are: tiny"):
        repository.load_model("../tiny", 0)
    with pytest.raises(NotFoundError, match="no version 3; there are: 1"):
        repository.load_model("tiny", 3)
    with pytest.raises(NotFoundError, match="no version 3"):
        repository.unload_model("tiny", 3)
    shutil.rmtree(models / "tiny")
    with pytest.raises(NotFoundError, match="gone from its folder"):
        repository.load_model("tiny", 1)
    repository.reload()
    wait_for(lambda: not states(repository), "the end of the model")
    with pytest.raises(NotFoundError, match="no model 'tiny'; there are: none"):
        repository.load_model("tiny", 1)


def test_listeners_are_called_for_every_state(repository: Repository, models: Path) -> None:
    seen: list[int] = []
    repository.on_change(lambda: seen.append(states(repository).get("new", {}).get(1, 0)))
    build_tiny_package(models, "new", version=1)
    repository.reload()
    assert seen == [gan_service_pb2.MODEL_STATE_LOADING, READY]


def test_the_admin_service(models: Path) -> None:
    async def scenario() -> None:
        async with in_process_server(models) as server:
            admin = admin_service_pb2_grpc.AdminServiceStub(server.channel)
            build_tiny_package(models, "tiny", version=2)
            loaded = await admin.LoadModel(admin_service_pb2.LoadModelRequest(model="tiny"))
            assert loaded.model.latest == 2
            assert [version.state for version in loaded.model.versions] == [READY, READY]
            build_tiny_package(models, "new", version=1)
            reloaded = await admin.ReloadRepository(admin_service_pb2.ReloadRepositoryRequest())
            assert [model.name for model in reloaded.models] == ["new", "tiny"]
            await admin.UnloadModel(admin_service_pb2.UnloadModelRequest(model="new"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await admin.LoadModel(admin_service_pb2.LoadModelRequest(model="tiny", version=9))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            for call in (admin.LoadModel, admin.UnloadModel):
                request = {admin.LoadModel: admin_service_pb2.LoadModelRequest}.get(
                    call, admin_service_pb2.UnloadModelRequest
                )
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(request())
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            break_package(build_tiny_package(models, "tiny", version=3))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await admin.LoadModel(admin_service_pb2.LoadModelRequest(model="tiny", version=3))
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            response = await server.gan.Sample(gan_service_pb2.SampleRequest(model="tiny", count=1))
            assert response.version == 2

    asyncio.run(scenario())


def test_waiting_loads_do_not_use_up_threads_of_requests(models: Path) -> None:
    async def scenario() -> None:
        loading, go_on = threading.Event(), threading.Event()

        def wait() -> None:  # holds the first load up
            loading.set()
            go_on.wait(60)

        async with in_process_server(models) as server:
            admin = admin_service_pb2_grpc.AdminServiceStub(server.channel)
            inference = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            build_tiny_package(models, "tiny", version=2)
            server.repository.on_change(wait)
            try:
                request = admin_service_pb2.LoadModelRequest(model="tiny")
                # More loads than `asyncio.to_thread` has threads.
                loads = [admin.LoadModel(request) for _ in range(40)]
                again = service_pb2.RepositoryModelLoadRequest(model_name="tiny")
                loads += [inference.RepositoryModelLoad(again) for _ in range(40)]
                await asyncio.get_running_loop().run_in_executor(None, loading.wait, 20)
                assert loading.is_set()
                asked = gan_service_pb2.SampleRequest(model="tiny", count=50_000)  # built on such a thread
                sampled = await gan_service_pb2_grpc.GanServiceStub(server.channel).Sample(asked, timeout=60)
                assert len(sampled.samples.tensor.data) == 50_000 * 64
                assert not any(load.done() for load in loads)
            finally:
                go_on.set()
            for load in loads:
                await load

    asyncio.run(scenario())


def test_a_reload_tries_failed_versions_again(
    repository: Repository, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tiny_package(models, "tiny", version=2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        repository.reload()
    assert states(repository) == {"tiny": {1: READY, 2: FAILED}}
    repository.reload()
    assert states(repository) == {"tiny": {1: READY, 2: READY}}


def test_without_a_name_the_error_describes_the_only_model(repository: Repository, models: Path) -> None:
    break_package(models / "tiny" / "1")
    repository.unload_model("tiny", 1)
    wait_for(lambda: states(repository)["tiny"][1] == UNLOADED, "the version to be unloaded")
    with pytest.raises(FailedPreconditionError, match="version 1 of model 'tiny' is not loaded"):
        repository.resolve("", 0)
    shutil.rmtree(models / "tiny")
    repository.reload()
    with pytest.raises(UnavailableError, match="no model is served yet"):
        repository.resolve("", 0)


def test_the_error_prefers_an_unloaded_version_to_a_broken_one(repository: Repository, models: Path) -> None:
    break_package(build_tiny_package(models, "tiny", version=2))
    repository.reload()
    repository.unload_model("tiny", 1)
    wait_for(lambda: states(repository) == {"tiny": {1: UNLOADED, 2: FAILED}}, "the version to be unloaded")
    with pytest.raises(FailedPreconditionError, match=r"version 1 .* is not loaded: load it .*RepositoryModelLoad"):
        repository.resolve("tiny", 0)
