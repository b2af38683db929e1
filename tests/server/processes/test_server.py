"""Test a server of two processes: it answers, fails, changes and stops as one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from callers import CallerFile
from ganserve import Client
from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from repositories import wait_for
from server_process import ServerProcess, fetch, processes_of, running_server
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator

TWO = ("--processes", "2")
CONNECTIONS = 16  # all of them reach the same one of two processes in one of 32,768 cases
_OK = re.compile(r'ganserve_requests_total\{code="OK",method="/ganserve.v1.GanService/Sample"\} (\S+)')


@contextlib.contextmanager
def connections(address: str) -> Iterator[list[grpc.Channel]]:
    """Open connections to a server, which the kernel shares out among its processes."""
    with contextlib.ExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        yield [stack.enter_context(grpc.insecure_channel(address, options=options)) for _ in range(CONNECTIONS)]


def latest(channel: grpc.Channel) -> int:
    models = gan_service_pb2_grpc.GanServiceStub(channel).ListModels(gan_service_pb2.ListModelsRequest()).models
    return int(models[0].latest)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    build_tiny_package(tmp_path / "models")
    return tmp_path / "models"


def test_several_processes_are_one_server(models: Path) -> None:
    with running_server(models, *TWO, "--metrics-port", "0", "--metrics-host", "127.0.0.1") as server:
        assert len(processes_of(server)) == 2
        assert "processes 2" in server.log
        request = gan_service_pb2.SampleRequest(count=3, seed=7, label_indices=[0])
        with connections(server.address) as channels:
            answers = {
                gan_service_pb2_grpc.GanServiceStub(channel).Sample(request).SerializeToString(deterministic=True)
                for channel in channels
            }
        assert len(answers) == 1, "the same samples, whichever process answers"
        status, metrics = fetch(server, "/metrics")
        assert status == 200
        assert "\nganserve_processes 2.0\n" in metrics
        counted = _OK.search(metrics)
        assert counted is not None
        assert float(counted[1]) == CONNECTIONS
        assert fetch(server, "/readyz") == (200, "ok, on CPUExecutionProvider\n")
        assert fetch(server, "/healthz")[0] == 200
        server.terminate()
        assert server.wait() == 0


@pytest.mark.slow
def test_a_killed_process_is_replaced_and_no_call_is_lost(models: Path) -> None:
    with running_server(models, *TWO, "--metrics-port", "0") as server, contextlib.ExitStack() as stack:
        ended, failures, counts = threading.Event(), [], []

        def call(client: Client) -> None:
            try:
                while not ended.is_set():
                    client.sample(1)
                    counts.append(1)
            except Exception as error:  # noqa: BLE001 - it fails the test
                failures.append(error)

        clients = [stack.enter_context(Client(server.address)) for _ in range(CONNECTIONS)]
        threads = [threading.Thread(target=call, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(counts) > 100 or failures, "calls")
        victim = processes_of(server)[0]
        os.kill(victim, signal.SIGKILL)
        killed = rf"process 1 \(pid {victim}\) was killed by SIGKILL.*; it is replaced$"
        server.wait_for(re.compile(killed, re.MULTILINE))
        server.wait_for(re.compile(r"process 1 \(pid \d+\) serves$", re.MULTILINE))
        seen = len(counts)
        wait_for(lambda: len(counts) > seen + 100 or failures, "more calls")
        before = _OK.search(fetch(server, "/metrics")[1])
        ended.set()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert victim not in processes_of(server)
        metrics = fetch(server, "/metrics")[1]
        assert "\nganserve_replaced_processes_total 1.0\n" in metrics
        after = _OK.search(metrics)
        assert before is not None
        assert after is not None
        assert float(after[1]) >= float(before[1]) > 100, "the counts of the killed process stay"
        stopped = processes_of(server)[0]
        os.kill(stopped, signal.SIGTERM)
        said = rf"INFO .*: process \d \(pid {stopped}\) was told to stop and has ended; it is replaced( in 1 s)?$"
        server.wait_for(re.compile(said, re.MULTILINE))


@pytest.mark.slow
def test_stopping_loses_no_call(models: Path) -> None:
    build_tiny_package(models, model=TinyModel(shape=(64, 64, 3), label_names=()), name="large")
    with running_server(models, *TWO) as server, connections(server.address) as channels:
        request = gan_service_pb2.SampleRequest(model="large", count=3000)
        streams = [
            gan_service_pb2_grpc.GanServiceStub(channel).StreamSamples(
                gan_service_pb2.StreamSamplesRequest(request=request)
            )
            for channel in channels
        ]
        for stream in streams:
            next(stream)
        server.terminate()
        server.wait_for(re.compile(r"new calls are refused"))
        for stream in streams:
            assert sum(answer.chunk.samples.tensor.shape[0] for answer in stream) > 0
            assert stream.code() is grpc.StatusCode.OK
        assert server.wait() == 0


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_drains_is_named(models: Path) -> None:
    with running_server(models, *TWO) as server, grpc.insecure_channel(server.address) as channel:
        stream = gan_service_pb2_grpc.GanServiceStub(channel).StreamSamples(
            gan_service_pb2.StreamSamplesRequest(request=gan_service_pb2.SampleRequest(count=2**40))
        )
        next(stream)
        server.terminate()
        wait_for(lambda: len(processes_of(server)) == 1, "the end of the idle process")
        (left,) = processes_of(server)
        os.kill(left, signal.SIGKILL)
        assert server.wait() == 1
        assert re.search(
            rf"process \d \(pid {left}\) was killed by SIGKILL.* while it drained$", server.log, re.MULTILINE
        )


@pytest.mark.slow
def test_changes_of_models_reach_all_processes_and_those_that_start_later(models: Path) -> None:
    build_tiny_package(models, version=2)
    with running_server(models, *TWO, "--poll-s", "0") as server, connections(server.address) as channels:
        admin = admin_service_pb2_grpc.AdminServiceStub(channels[0])
        assert admin.UnloadModel(admin_service_pb2.UnloadModelRequest(model="tiny", version=2)).model.latest == 1
        assert {latest(channel) for channel in channels} == {1}
        os.kill(processes_of(server)[0], signal.SIGKILL)
        server.wait_for(re.compile(r"process 1 \(pid \d+\) serves$", re.MULTILINE))
        with connections(server.address) as fresh:
            assert {latest(channel) for channel in fresh} == {1}, "the new one has been told"
            admin = admin_service_pb2_grpc.AdminServiceStub(fresh[0])
            admin.LoadModel(admin_service_pb2.LoadModelRequest(model="tiny", version=2))
            assert {latest(channel) for channel in fresh} == {2}
            build_tiny_package(models, version=3)
            admin.ReloadRepository(admin_service_pb2.ReloadRepositoryRequest())
            assert {latest(channel) for channel in fresh} == {3}
            admin.UnloadModel(admin_service_pb2.UnloadModelRequest(model="tiny"))
            build_tiny_package(models, version=4)
            admin.ReloadRepository(admin_service_pb2.ReloadRepositoryRequest())
            assert {latest(channel) for channel in fresh} == {4}
            os.kill(processes_of(server)[0], signal.SIGKILL)
            wait_for(lambda: server.log.count(") serves\n") == 2, "the second replacement")
        with connections(server.address) as fresh:
            assert {latest(channel) for channel in fresh} == {4}, "it came after the others were unloaded"
            admin = admin_service_pb2_grpc.AdminServiceStub(fresh[0])
            with pytest.raises(grpc.RpcError) as caught:
                admin.LoadModel(admin_service_pb2.LoadModelRequest(model="tiny", version=9))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "does not wait any longer" not in server.log


@pytest.mark.slow
def test_a_version_appears_in_all_processes_and_leaves_them(models: Path) -> None:
    with running_server(models, *TWO, "--poll-s", "0.5") as server, connections(server.address) as channels:
        staged = models.parent / "staged"
        build_tiny_package(staged, version=2)
        shutil.move(staged / "tiny" / "2", models / "tiny" / "2")
        wait_for(lambda: {latest(channel) for channel in channels} == {2}, "the new version")
        shutil.rmtree(models / "tiny" / "2")
        wait_for(lambda: {latest(channel) for channel in channels} == {1}, "the removal")


@pytest.mark.slow
def test_a_quota_is_that_of_all_processes(models: Path, tmp_path: Path) -> None:
    callers = CallerFile(tmp_path / "identities.toml")
    callers.add("quotas", "[quotas.callers.single]\nconcurrent_calls = 1\n")
    metadata = [("authorization", f"Bearer {callers.token('single', 'sample')}")]
    flags = (*TWO, "--identities", str(callers.file))
    with running_server(models, *flags) as server, connections(server.address) as channels:
        stubs = [gan_service_pb2_grpc.GanServiceStub(channel) for channel in channels]
        request = gan_service_pb2.SampleRequest(count=10**9)
        stream = stubs[0].StreamSamples(gan_service_pb2.StreamSamplesRequest(request=request), metadata=metadata)
        next(stream)
        for stub in stubs:
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListModels(gan_service_pb2.ListModelsRequest(), metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        stream.cancel()


def test_settings_that_cannot_work_end_the_server_at_once(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "missing", *TWO)
    assert server.wait() == 2
    assert server.log.count("there is no such folder") == 1
    assert "replaced" not in server.log
    server.stop()


@pytest.mark.slow
def test_processes_end_with_a_supervisor_that_is_killed(models: Path) -> None:
    server = ServerProcess(models, *TWO)
    server.wait_until_serving()
    children = processes_of(server)
    server.process.kill()
    server.process.wait()
    wait_for(lambda: not any(_runs(child) for child in children), "the end of the processes")
    assert server.log.count("the supervisor is gone") == 2
    port = server.address.rpartition(":")[2]
    server.stop()
    with running_server(models, *TWO, "--port", port):
        pass


@pytest.mark.slow
def test_a_process_that_ends_again_and_again_is_replaced_ever_more_slowly(models: Path) -> None:
    with running_server(models, *TWO) as server:
        for ends, pause in ((1, ""), (2, " in 1 s"), (3, " in 2 s")):
            child = processes_of(server)[-1]
            os.kill(child, signal.SIGSEGV)
            server.wait_for(re.compile(rf"pid {child}\) was killed by SIGSEGV; it is replaced{pause}$", re.MULTILINE))
            wait_for(lambda ends=ends: server.log.count(" serves") == ends, "the replacement")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_the_number_is_chosen_by_a_measurement(models: Path) -> None:
    with running_server(models, "--processes", "auto") as server:
        server.wait_for(
            re.compile(r"processes \d+ \(auto: a sample takes \S+ ms of CPU time, and there are \d+ cores?\)")
        )
    (models.parent / "empty").mkdir()
    with running_server(models.parent / "empty", "--processes", "auto", "--allow-empty") as server:
        assert "processes 1 (auto: no model could be measured)" in server.log
