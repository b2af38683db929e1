"""Models come, change and go while the repository answers."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.engine.engine import EngineConfig
from ganserve_server.errors import FailedPreconditionError, NotFoundError, UnavailableError
from ganserve_server.models.leases import Leases
from ganserve_server.models.repository import Repository
from ganserve_server.queue.batch_config import BatchConfig
from in_process import in_process_server
from tiny_packages import build_tiny_package, read_manifest, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINE = EngineConfig(provider="CPUExecutionProvider", threads=1)
BATCH = BatchConfig(max_batch_size=8, max_queued_samples=1000, workers=1)
READY, FAILED, UNLOADED = (
    gan_service_pb2.MODEL_STATE_READY,
    gan_service_pb2.MODEL_STATE_FAILED,
    gan_service_pb2.MODEL_STATE_UNLOADED,
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    build_tiny_package(tmp_path / "models", "tiny", version=1)
    return tmp_path / "models"


@pytest.fixture
def repository(models: Path) -> Iterator[Repository]:
    repository = Repository(models, ENGINE, BATCH, drain_timeout_s=20)
    repository.load()
    yield repository
    repository.close()


def states(repository: Repository) -> dict[str, dict[int, int]]:
    return {model.name: {v.version: v.state for v in model.versions} for model in repository.summaries()}


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


def break_package(folder: Path) -> None:
    (folder / "generator.onnx").write_bytes(b"broken")


def test_a_new_version_is_the_latest_once_it_is_loaded(repository: Repository, models: Path) -> None:
    build_tiny_package(models, "tiny", version=2)
    assert repository.resolve("tiny", 0).info.version == 1
    (summary,) = repository.reload()
    assert summary.latest == 2
    assert repository.resolve("tiny", 0).info.version == 2
    assert repository.resolve("tiny", 1).info.version == 1


def test_a_broken_version_is_refused_and_the_one_before_serves_on(repository: Repository, models: Path) -> None:
    break_package(build_tiny_package(models, "tiny", version=2))
    (summary,) = repository.reload()
    assert summary.latest == 1
    assert states(repository) == {"tiny": {1: READY, 2: FAILED}}
    assert "generator.onnx has 6 bytes" in summary.versions[1].reason
    assert repository.resolve("tiny", 0).info.version == 1
    with pytest.raises(FailedPreconditionError, match=r"version 2 .* could not be loaded: generator"):
        repository.resolve("tiny", 2)


def test_a_version_that_is_repaired_is_taken_up(repository: Repository, models: Path) -> None:
    folder = build_tiny_package(models, "tiny", version=2)
    whole = (folder / "generator.onnx").read_bytes()
    break_package(folder)
    repository.reload()
    (folder / "generator.onnx").write_bytes(whole)
    repository.reload()
    assert states(repository) == {"tiny": {1: READY, 2: READY}}


def test_a_version_that_is_broken_later_serves_on_as_it_was(repository: Repository, models: Path) -> None:
    model = repository.resolve("tiny", 1)
    break_package(models / "tiny" / "1")
    (summary,) = repository.reload()
    assert repository.resolve("tiny", 1) is model
    assert summary.versions[0].state == READY
    assert "generator.onnx has 6 bytes" in summary.versions[0].reason
    with pytest.raises(FailedPreconditionError, match="could not be loaded"):
        repository.load_model("tiny", 1)
    assert repository.resolve("tiny", 1) is model


def test_a_changed_version_takes_the_place_of_what_it_was(repository: Repository, models: Path) -> None:
    before = repository.resolve("tiny", 1)
    spec = read_manifest(models / "tiny" / "1")
    spec.label_names[0] = "renamed"
    write_manifest(models / "tiny" / "1", spec)
    repository.reload()
    after = repository.resolve("tiny", 1)
    assert after is not before
    assert after.info.label_names[0] == "renamed"
    wait_for(lambda: not before.leases.acquire(), "the old one to retire")


def test_a_removed_version_goes_and_a_removed_model_too(repository: Repository, models: Path) -> None:
    build_tiny_package(models, "tiny", version=2)
    build_tiny_package(models, "other", version=1)
    repository.reload()
    shutil.rmtree(models / "tiny" / "2")
    shutil.rmtree(models / "other")
    repository.reload()
    wait_for(lambda: states(repository) == {"tiny": {1: READY}}, "the removed versions to go")
    with pytest.raises(NotFoundError, match="no model 'other'"):
        repository.resolve("other", 0)


def test_requests_finish_on_the_version_that_they_began_with(repository: Repository, models: Path) -> None:
    with repository.lease("tiny", 1) as model:
        repository.unload_model("tiny", 1)
        with pytest.raises(UnavailableError, match="not ready"):
            repository.resolve("tiny", 1)
        work = asyncio.run(model.generator.submit(_work(model), 20))
        assert sum(len(part[0]) for part in work) == 20
    wait_for(lambda: states(repository)["tiny"][1] == UNLOADED, "the version to be unloaded")
    with pytest.raises(FailedPreconditionError, match="is not loaded: load it with AdminService"):
        repository.resolve("tiny", 1)


def _work(model: object) -> object:
    from ganserve_server.models.graph_work import GeneratorWork

    return GeneratorWork(seed=1, labels=0 if model.info.label_names else None)


def test_what_takes_too_long_is_cut_off(models: Path) -> None:
    repository = Repository(models, ENGINE, BATCH, drain_timeout_s=0.1)
    repository.load()
    with repository.lease("tiny", 1) as model:
        repository.unload_model("tiny", 1)
        wait_for(lambda: states(repository)["tiny"][1] == UNLOADED, "the version to be cut off")
        with pytest.raises(UnavailableError, match="was unloaded"):
            asyncio.run(model.generator.submit(_work(model), 1))
    repository.close()


def test_closing_does_not_wait_for_those_who_use_a_retired_version(models: Path) -> None:
    repository = Repository(models, ENGINE, BATCH, drain_timeout_s=3600)
    repository.load()
    with repository.lease("tiny", 1):
        repository.unload_model("tiny", 1)
        repository.close()


def test_an_unloaded_version_stays_so_until_it_is_loaded_by_number(repository: Repository, models: Path) -> None:
    repository.unload_model("tiny", 0)
    build_tiny_package(models, "other", version=1)
    repository.reload()
    wait_for(lambda: states(repository) == {"other": {1: READY}, "tiny": {1: UNLOADED}}, "tiny to be unloaded")
    assert repository.load_model("tiny", 1).latest == 1
    assert repository.resolve("tiny", 0).info.version == 1


def test_a_package_added_meanwhile_can_be_loaded_at_once(repository: Repository, models: Path) -> None:
    build_tiny_package(models, "tiny", version=7)
    build_tiny_package(models, "tiny", version=8)
    assert repository.load_model("tiny", 7).latest == 7
    assert repository.load_model("tiny", 0).latest == 8


def test_loading_what_is_not_there(repository: Repository, models: Path) -> None:
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


def test_a_folder_that_cannot_be_read_changes_nothing(repository: Repository, models: Path) -> None:
    models.rename(models.with_name("away"))
    for change in (repository.reload, lambda: repository.load_model("tiny", 1)):
        with pytest.raises(UnavailableError, match=r"models cannot be read: No such file or directory$"):
            change()
    models.write_text("a file in its place")
    with pytest.raises(UnavailableError, match=r"cannot be read: Not a directory$"):
        repository.reload()
    assert repository.resolve("tiny", 0).info.version == 1


def test_a_folder_that_is_emptied_has_no_models_any_more(repository: Repository, models: Path) -> None:
    shutil.rmtree(models / "tiny")
    repository.reload()
    wait_for(lambda: not states(repository), "the end of the model")
    assert repository.unreadable == ""


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


def test_a_package_that_is_being_copied_is_left_alone_until_it_is_whole(models: Path) -> None:
    repository = Repository(models, ENGINE, BATCH)
    repository.load()
    seen: list[dict[str, dict[int, int]]] = []
    repository.on_change(lambda: seen.append(states(repository)))
    whole = build_tiny_package(models.parent / "elsewhere", "tiny", version=2)
    repository.watch(0.2)
    target = models / "tiny" / "2"
    target.mkdir()
    for file in sorted(whole.iterdir()):
        data = file.read_bytes()
        with (target / file.name).open("wb") as out:
            for start in range(0, len(data), 1 + len(data) // 4):
                out.write(data[start : start + 1 + len(data) // 4])
                out.flush()
                time.sleep(0.05)
    wait_for(lambda: states(repository)["tiny"].get(2) == READY, "the copied version")
    repository.close()
    assert all(state["tiny"].get(2, READY) != FAILED for state in seen)


def test_watching_goes_on_after_a_look_that_failed(models: Path) -> None:
    repository = Repository(models, ENGINE, BATCH)
    repository.load()
    repository.watch(0.02)
    models.rename(models.with_name("away"))
    time.sleep(0.1)
    models.with_name("away").rename(models)
    build_tiny_package(models, "tiny", version=2)
    wait_for(lambda: states(repository)["tiny"].get(2) == READY, "the new version")
    repository.close()


def test_listeners_hear_of_every_state(repository: Repository, models: Path) -> None:
    seen: list[int] = []
    repository.on_change(lambda: seen.append(states(repository).get("new", {}).get(1, 0)))
    build_tiny_package(models, "new", version=1)
    repository.reload()
    assert seen == [gan_service_pb2.MODEL_STATE_LOADING, READY]


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


def test_loads_that_wait_for_each_other_leave_requests_their_threads(models: Path) -> None:
    async def scenario() -> None:
        loading, go_on = threading.Event(), threading.Event()

        def wait() -> None:  # holds the first load up
            loading.set()
            go_on.wait(60)

        async with in_process_server(models) as server:
            admin = admin_service_pb2_grpc.AdminServiceStub(server.channel)
            inference = service_pb2_grpc.GRPCInferenceServiceStub(server.channel)
            server.repository.on_change(wait)
            try:
                request = admin_service_pb2.LoadModelRequest(model="tiny")
                # More than `asyncio.to_thread` has threads on any machine.
                loads = [admin.LoadModel(request) for _ in range(40)]
                again = service_pb2.RepositoryModelLoadRequest(model_name="tiny")
                loads += [inference.RepositoryModelLoad(again) for _ in range(40)]
                await asyncio.get_running_loop().run_in_executor(None, loading.wait, 20)
                assert loading.is_set()
                asked = gan_service_pb2.SampleRequest(model="tiny", count=50_000)  # filled in on such a thread
                sampled = await gan_service_pb2_grpc.GanServiceStub(server.channel).Sample(asked, timeout=60)
                assert len(sampled.samples.tensor.data) == 50_000 * 64
                assert not any(load.done() for load in loads)
            finally:
                go_on.set()
            for load in loads:
                await load

    asyncio.run(scenario())


def test_a_link_that_leads_nowhere_beside_a_package_changes_nothing(repository: Repository, models: Path) -> None:
    (models / "tiny" / "1" / ".#manifest.json").symlink_to("somebody@a-host.1:1")  # an editor's lock
    (models / "tiny" / "1" / "loop").symlink_to("loop")
    repository.reload()
    assert states(repository) == {"tiny": {1: READY}}
    assert repository.resolve("tiny", 1).leases.acquire()


def test_folders_that_cannot_be_read_hold_nothing_else_up(
    repository: Repository, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tiny_package(models, "other", version=1)
    build_tiny_package(models, "late", version=1)
    repository.reload()
    # Whoever runs the tests may be allowed to read everything.
    locked, whole = {models / "other", models / "tiny" / "1", models / "secret"}, Path.iterdir
    (models / "secret").symlink_to(models / "tiny")
    stat = Path.stat

    def look(path: Path, **follow: bool) -> os.stat_result:
        if path.name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **follow)

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder in locked:
            raise PermissionError(13, "Permission denied", str(folder))
        return whole(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(Path, "stat", look)
    build_tiny_package(models, "new", version=1)
    shutil.rmtree(models / "late")
    repository.reload()
    wait_for(lambda: "late" not in states(repository), "the removed model to go")
    assert states(repository) == {name: {1: READY} for name in ("new", "other", "tiny")}
    assert sorted(repository.ignored) == [f"{folder}: cannot be read: Permission denied" for folder in sorted(locked)]
    assert sorted(repository.unreadable.split("; ")) == sorted(repository.ignored)


def test_what_failed_is_tried_again_when_asked(
    repository: Repository, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_tiny_package(models, "tiny", version=2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        repository.reload()
    assert states(repository) == {"tiny": {1: READY, 2: FAILED}}
    repository.reload()
    assert states(repository) == {"tiny": {1: READY, 2: READY}}


def test_a_broken_version_that_is_unloaded_is_unloaded(repository: Repository, models: Path) -> None:
    break_package(build_tiny_package(models, "tiny", version=2))
    repository.reload()
    summary = repository.unload_model("tiny", 2)
    assert (summary.versions[1].state, summary.versions[1].reason) == (UNLOADED, "")


def test_without_a_name_the_only_model_tells_why_it_is_not_ready(repository: Repository, models: Path) -> None:
    break_package(models / "tiny" / "1")
    repository.unload_model("tiny", 1)
    wait_for(lambda: states(repository)["tiny"][1] == UNLOADED, "the version to be unloaded")
    with pytest.raises(FailedPreconditionError, match="version 1 of model 'tiny' is not loaded"):
        repository.resolve("", 0)
    shutil.rmtree(models / "tiny")
    repository.reload()
    with pytest.raises(UnavailableError, match="no model is served yet"):
        repository.resolve("", 0)


def test_where_none_is_ready_an_unloaded_version_tells_more_than_a_broken_one(
    repository: Repository, models: Path
) -> None:
    break_package(build_tiny_package(models, "tiny", version=2))
    repository.reload()
    repository.unload_model("tiny", 1)
    wait_for(lambda: states(repository) == {"tiny": {1: UNLOADED, 2: FAILED}}, "the version to be unloaded")
    with pytest.raises(FailedPreconditionError, match=r"version 1 .* is not loaded: load it .*RepositoryModelLoad"):
        repository.resolve("tiny", 0)


def test_a_folder_that_vanishes_is_told_once_and_looked_at_again(
    repository: Repository, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = models.with_name("away")
    with caplog.at_level("INFO", logger="ganserve_server"):
        models.rename(away)
        repository.watch(0.01)
        wait_for(lambda: "cannot be read" in caplog.text, "the folder to be missed")
        time.sleep(0.1)
        assert repository.resolve("tiny", 1).info.version == 1
        away.rename(models)
        wait_for(lambda: "can be read again" in caplog.text, "the folder to be found")
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "Traceback" not in caplog.text
    assert states(repository) == {"tiny": {1: READY}}


def test_a_stream_ends_on_the_version_that_it_began_with(models: Path) -> None:
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
