"""Test the process `ganserve serve`: starting, refusing to start, stopping."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import grpc
import onnxruntime
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import hostile_packages
from commands import ganserve
from ganserve import Client, ServerUnavailable
from ganserve_server.api.grpc.server import GrpcServer
from ganserve_server.engine.providers import cuda_obstacle
from ganserve_server.errors import StartupError
from ganserve_server.settings import ServerConfig
from ganserve_server.settings_sources import blame, read_configuration
from ganserve_server.startup import load
from server_process import ServerProcess, running_server
from stubs import TIMEOUT_S, connected
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from pathlib import Path

    from stubs import Stubs

# Large enough that one answer fills the buffers between server and client.
LARGE = TinyModel(shape=(128, 128, 3), label_names=())


def serve(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ganserve_server", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_report_lists_provider_and_models(server_process: ServerProcess) -> None:
    assert re.search(r"^provider CPUExecutionProvider \(CUDA is not available: .+\)$", server_process.log, re.MULTILINE)
    assert re.search(
        r"^calls    \d+ at a time, \d+ CPU threads? each, at most 64 samples$", server_process.log, re.MULTILINE
    )
    assert "model    tiny version 2 (latest): images uint8 [8, 8, 1], labels zero, one, two\n" in server_process.log
    assert "model    tiny-vector version 1: vectors float32 [2], unconditional\n" in server_process.log
    assert server_process.log.count("\nserving on 127.0.0.1:") == 1
    assert "Unknown experiment" not in server_process.log, "gRPC has no event_engine_listener: `command` can leave it"


def test_a_taken_port_is_refused(repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = serve("--models", str(repository), "--port", str(port))
    assert result.returncode == 2
    assert f"ganserve serve: error: cannot listen on 127.0.0.1:{port}: another process uses the port" in result.stderr
    assert result.stdout == ""


def test_a_refusal_ends_a_load_that_has_begun(server: str, tmp_path: Path) -> None:
    hostile_packages.endless(tmp_path)
    result = serve("--models", str(tmp_path), "--port", server.rpartition(":")[2])
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "another process uses the port" in result.stderr


def test_another_servers_port_is_refused(server: str, repository: Path) -> None:
    result = serve("--models", str(repository), "--port", server.rpartition(":")[2])
    assert result.returncode == 2
    assert "another process uses the port" in result.stderr


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(
        StartupError, match=r"^cannot listen on 192\.0\.2\.1:0: this machine has no such address; .* --host"
    ):
        bind("192.0.2.1:0")


def bind(address: str) -> None:
    async def scenario() -> None:
        server = GrpcServer()
        try:
            server.bind(address)
        finally:
            await server.drain(0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "said", "message"),
    [
        (OSError, (errno.EACCES, "Permission denied"), "this user may not open the port .*below 1024"),
        (socket.gaierror, (socket.EAI_NONAME, "Name not known"), "Name not known; choose another address with --host"),
        (OSError, (errno.EAFNOSUPPORT, "No such family"), "No such family; choose another with --port .* or --host"),
        (None, (), "another process uses the port"),
    ],
)
def test_a_failed_bind_is_refused_with_the_systems_reason(
    error: type[OSError] | None, said: tuple[object, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(self: socket.socket, address: object) -> None:
        if error:
            raise error(*said)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(socket.socket, "bind", probe)
        with pytest.raises(StartupError, match=rf"^cannot listen on {address}: {message}"):
            bind(address)


@pytest.mark.skipif(cuda_obstacle() is None, reason="CUDA is available here")
def test_unavailable_cuda_is_refused_with_the_reason(repository: Path) -> None:
    with pytest.raises(StartupError, match="CUDA was requested but is not available: ") as caught:
        load(ServerConfig(models=repository, provider="cuda"))
    assert (cuda_obstacle() or "") in str(caught.value)
    assert "--provider cpu" in str(caught.value)


def test_cpu_is_used_on_request(repository: Path) -> None:
    with running_server(repository, "--provider", "cpu", "--workers", "3", "--threads", "2") as server:
        assert "provider CPUExecutionProvider (requested)" in server.log
        assert "calls    3 at a time, 2 CPU threads each, at most 64 samples\n" in server.log


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    result = serve("--models", str(tmp_path / "nowhere"), "--port", "0")
    assert result.returncode == 2
    assert "there is no such folder. Write one with `ganserve export-onnx" in result.stderr


def test_a_missing_folder_is_reported_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('models = "nowhere"')
    configuration = read_configuration(["--config", str(file)], {})
    with pytest.raises(StartupError) as caught:
        load(configuration.config)
    told = blame(caught.value, configuration.sources)
    assert told.startswith(f"{file}: models nowhere: there is no such folder. Write one")


def test_a_missing_folder_is_not_waited_for(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(StartupError, match=rf"--allow-empty needs an existing folder: .*`mkdir -p {missing}`\.$"):
        load(ServerConfig(models=missing, allow_empty=True))
    with pytest.raises(
        StartupError, match=r"no such folder\. Write one with `[^`]+`, or try --demo, which needs none\.$"
    ):
        load(ServerConfig(models=missing))


def test_nothing_to_serve_is_refused_with_all_reasons(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "a").joinpath("manifest.json").unlink()
    build_tiny_package(tmp_path, "b").joinpath("critic.onnx").unlink()
    tmp_path.joinpath("c").mkdir()
    with pytest.raises(StartupError, match=r"^there is nothing to serve in .*or wait for one with --al") as caught:
        load(ServerConfig(models=tmp_path, provider="cpu"))
    told = str(caught.value)
    assert "FAILED   a version 1: manifest.json is missing" in told
    assert "FAILED   b version 1: critic.onnx is missing" in told
    assert "c: has no version's folder" in told


def test_an_empty_repository_is_waited_for_on_request(tmp_path: Path) -> None:
    with running_server(tmp_path, "--allow-empty", "--poll-s", "0.05") as server, Client(server.address) as client:
        assert client.models() == []
        assert "nothing to serve yet: waiting for packages in" in server.log
        with (
            Client(server.address, max_attempts=1) as once,
            pytest.raises(ServerUnavailable, match="no model is served"),
        ):
            once.sample(1)
        build_tiny_package(tmp_path)
        deadline = time.monotonic() + 60
        while not client.models():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        client.wait_until_ready(model="tiny", timeout_s=60)
        assert len(client.sample(3)) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--host", "[::1]:80"], "--host [::1]:80: has a port. Give --host [::1] --port 80."),
        (["--host", "*"], "--host *: not an address. 0.0.0.0 or [::] lets other machines in."),
        (["--port", "70000"], "--port 70000: must be 0 to 65535. 0 picks a free one."),
        (["--threads", "-1"], "--threads -1: must be at least 0. 0 chooses for you."),
        (["--max-batch-size", "-1"], "--max-batch-size -1: must be at least 0. 0 chooses for you."),
        (["--max-queued-samples", "10"], "--max-queued-samples 10: must be at least --max-batch-size, which is 64."),
        (["--drain-timeout-s", "nan"], "--drain-timeout-s nan: not a number. Give one, such as 0.5."),
        (["--provider", "tpu"], "--provider"),
        (["--prot", "1"], "--prot"),
    ],
)
def test_bad_flags_are_refused(flags: list[str], message: str) -> None:
    result = ganserve("serve", *flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_lists_the_flags() -> None:
    result = ganserve("serve", "--help")
    assert result.returncode == 0
    for flag in ("--models", "--port", "--provider", "--max-batch-size", "--drain-timeout-s"):
        assert flag in result.stdout


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_it_serves_if_stderr_cannot_be_written(closed: str, repository: Path) -> None:
    command = f"exec {sys.executable} -m ganserve_server --models {repository} --port 0 --provider cpu {closed}"
    with subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if line.startswith("serving on "))
        with Client(said.split()[-1]) as client:
            assert client.models()
        process.terminate()
        assert process.wait(60) == 0


def test_sigterm_lets_calls_finish_and_exits_with_0(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, model=LARGE)
    with running_server(tmp_path) as server, connected(server.address) as stubs:
        stream = stubs.open_stream(count=1000, chunk_size=20, seed=1)
        drawn = len(next(stream).chunk.samples.tensor.data)
        health = health_pb2_grpc.HealthStub(stubs.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        server.terminate()
        # The stream waits for its reader, so the server still runs.
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        code = None
        try:
            stubs.sample(count=1)
        except grpc.RpcError as error:
            code = error.code()
        # A call that arrives at the moment of the shutdown is answered, refused, or cancelled by gRPC.
        assert code in (None, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        drawn += sum(len(response.chunk.samples.tensor.data) for response in stream)
        assert drawn == 1000 * LARGE.size
        assert server.wait() == 0


def test_sigterm_without_calls_exits_at_once_with_0(repository: Path) -> None:
    with running_server(repository, "--drain-timeout-s", "1000") as server:
        server.terminate()
        assert server.wait() == 0
        assert "Traceback" not in server.log


def stalled(stubs: Stubs) -> grpc.Call:
    """Open a stream that its client stops reading, so that it never ends."""
    stream = stubs.open_stream(count=2**40, seed=1)
    next(stream)
    return stream


def test_calls_that_take_longer_than_the_drain_timeout_are_cut_off(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, model=LARGE)
    with running_server(tmp_path, "--drain-timeout-s", "0.2") as server, connected(server.address) as stubs:
        stream = stalled(stubs)
        server.terminate()
        assert server.wait() == 1
        assert "cut off: 1 call did not finish within 0.2 s" in server.log
        with pytest.raises(grpc.RpcError):
            list(stream)


def test_the_folder_of_one_model_is_recognised(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny")
    with pytest.raises(
        StartupError,
        match=rf"^--models {tmp_path}/tiny: is one model's folder\. Give the folder above it, {tmp_path}\.$",
    ):
        load(ServerConfig(models=tmp_path / "tiny", provider="cpu"))


def test_the_folder_above_the_repository_is_recognised(tmp_path: Path) -> None:
    build_tiny_package(tmp_path / "models", "tiny")
    with pytest.raises(
        StartupError,
        match=rf"has no packages, but there are some below\. Did you mean {re.escape(f'{tmp_path}/models')}\?$",
    ):
        load(ServerConfig(models=tmp_path, provider="cpu"))


def test_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, model=LARGE)
    with running_server(tmp_path, "--drain-timeout-s", "1000") as server, connected(server.address) as stubs:
        stream = stalled(stubs)
        server.terminate()
        server.wait_for(re.compile("stopping: new calls are refused"))
        server.terminate()
        assert server.wait() == 1
        assert stream.is_active() or stream.code() is not None


def test_one_server_serves_concurrent_clients(server: str) -> None:
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            with connected(server) as stubs:
                for count in (1, 70, 3):
                    answer = stubs.sample(model="tiny", count=count, seed=seed)
                    assert len(answer.label_names) == count
        except (AssertionError, grpc.RpcError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_the_reason_names_what_is_missing() -> None:
    obstacle = cuda_obstacle()
    if obstacle is None:
        pytest.skip("CUDA is available here")
    assert any(part in obstacle for part in ("NVIDIA driver", "built without CUDA", "is missing", "CUDA provider"))
    assert "CPUExecutionProvider" in onnxruntime.get_available_providers()
