"""Test that restarts are noticed by nobody: what signals do, what clients are told, and when."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import hostile_packages
from ganserve import Client
from repositories import wait_for
from server_process import ServerProcess, running_server
from stubs import connected
from tiny_packages import TinyModel, build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = TinyModel(shape=(128, 128, 3), label_names=())
GOAWAY = 7


@contextlib.contextmanager
def tapped(address: str) -> Iterator[tuple[str, list[int]]]:
    """Forward connections to a server; yield the address, and the types of HTTP/2 frames that the server sends."""
    frames: list[int] = []
    host, _, port = address.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def forward() -> None:
            with contextlib.suppress(OSError):  # the test has ended, or the server
                while True:
                    client, _ = listener.accept()
                    server = socket.create_connection((host, int(port)))
                    for both in ((client, server), (server, client, frames)):
                        threading.Thread(target=copy, args=both, daemon=True).start()

        threading.Thread(target=forward, daemon=True).start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", frames
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # ends `accept`


def copy(source: socket.socket, target: socket.socket, frames: list[int] | None = None) -> None:
    pending = b""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
            if frames is not None:
                pending += data
                while len(pending) >= 9 and len(pending) >= (end := 9 + int.from_bytes(pending[:3], "big")):
                    frames.append(pending[3])
                    pending = pending[end:]
        target.shutdown(socket.SHUT_WR)


def refuses(address: str) -> bool:
    """Return whether nobody listens at an address."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_clients_are_told_to_leave_while_a_stream_still_runs(tmp_path: Path, number: int) -> None:
    build_tiny_package(tmp_path, model=LARGE)
    with (
        running_server(tmp_path, "--drain-timeout-s", "1000") as server,
        tapped(server.address) as (address, frames),
        connected(address) as stubs,
    ):
        stream = stubs.open_stream(count=1000, chunk_size=20, seed=1)
        drawn = len(next(stream).chunk.samples.tensor.data)
        assert GOAWAY not in frames
        server.process.send_signal(number)
        wait_for(lambda: GOAWAY in frames, "GOAWAY")
        assert server.process.poll() is None, "the stream waits for its reader, so the server still runs"
        wait_for(lambda: refuses(server.address), "the end of the listener")
        drawn += sum(len(response.chunk.samples.tensor.data) for response in stream)
        assert drawn == 1000 * LARGE.size
        assert server.wait() == 0


def test_a_server_that_will_stop_serves_until_balancers_notice(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)
    flags = ("--drain-delay-s", "1000", "--metrics-port", "0")
    with running_server(tmp_path, *flags) as server, tapped(server.address) as (address, frames):
        with connected(address) as stubs:
            server.terminate()
            server.wait_for(re.compile("stopping: health is NOT_SERVING, calls are answered for 1000 s more"))
            health = health_pb2_grpc.HealthStub(stubs.channel)
            request = health_pb2.HealthCheckRequest()
            wait_for(lambda: health.Check(request).status == health_pb2.HealthCheckResponse.NOT_SERVING, "the health")
            assert stubs.sample(count=1).model == "tiny"
            assert GOAWAY not in frames
        with connected(server.address) as late:
            assert late.sample(count=1).model == "tiny"
        server.terminate()  # a second signal ends it at once
        assert server.wait() == 1


def test_a_connection_ends_at_its_greatest_age(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)
    with (
        running_server(tmp_path, "--max-connection-age-s", "1") as server,
        tapped(server.address) as (address, frames),
        connected(address) as stubs,
    ):
        assert stubs.sample(count=1).model == "tiny"
        wait_for(lambda: GOAWAY in frames, "GOAWAY")


def test_it_stops_while_models_load(tmp_path: Path) -> None:
    hostile_packages.endless(tmp_path)
    server = ServerProcess(tmp_path)
    server.wait_for(re.compile("^default", re.MULTILINE))
    server.terminate()
    assert server.wait() == 0
    assert "stopped while models were being loaded" in server.log
    server.stop()


def namespaces() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not namespaces(), reason="no process namespaces here")
def test_it_stops_as_process_1_while_models_load(tmp_path: Path) -> None:
    hostile_packages.endless(tmp_path)
    command = (sys.executable, "-m", "ganserve_server", "--models", str(tmp_path), "--port", "0")
    unshare = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    with subprocess.Popen([*unshare, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert next(line for line in process.stdout if line.startswith("default"))
        inner = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        os.kill(inner, signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.skipif(not namespaces(), reason="no process namespaces here")
def test_process_1_ends_by_a_signal_before_its_work_begins() -> None:
    begin = "import os, sys; from ganserve._command_framework.process import guarded"
    wait = "guarded('ganserve', lambda: print(os.getpid(), flush=True) or bool(sys.stdin.read()))"
    unshare = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    with subprocess.Popen(
        [*unshare, sys.executable, "-c", f"{begin}; {wait}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        inner = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        os.kill(inner, signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


def test_a_unix_socket(tmp_path: Path) -> None:
    build_tiny_package(tmp_path / "models")
    path = tmp_path / "socket"
    with running_server(tmp_path / "models", "--host", f"unix:{path}", "--metrics-port", "0") as server:
        assert server.address == f"unix:{path}"
        assert server.metrics_url.startswith("http://127.0.0.1:")
        with Client(server.address) as client:
            assert len(client.sample(2)) == 2
        other = ServerProcess(tmp_path / "models", "--host", f"unix:{path}")
        assert other.wait() == 2
        assert f"--host unix:{path}: another process listens there" in other.log
        other.stop()
        with Client(server.address) as client:
            assert len(client.sample(2)) == 2
        server.terminate()
        assert server.wait() == 0
        assert not path.exists()


@pytest.mark.parametrize(
    ("path", "problem"),
    [("missing/socket", "there is no folder"), ("x" * 120, "has more than 107 bytes"), ("file", "is a file, not a")],
)
def test_a_unix_socket_that_cannot_be_made_is_refused(tmp_path: Path, path: str, problem: str) -> None:
    build_tiny_package(tmp_path / "models")
    (tmp_path / "file").touch()
    server = ServerProcess(tmp_path / "models", "--host", f"unix:{tmp_path / path}")
    assert server.wait() == 2
    assert problem in server.log
    server.stop()


@pytest.mark.parametrize(("host", "taken"), [("localhost", "127.0.0.1"), ("localhost", "::1"), ("0.0.0.0", "::")])
def test_a_port_taken_on_one_of_two_addresses_is_taken(tmp_path: Path, host: str, taken: str) -> None:
    addresses = {address[0] for *_, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)}
    if host == "localhost" and addresses != {"127.0.0.1", "::1"}:
        pytest.skip(f"localhost is {addresses} here")
    build_tiny_package(tmp_path)
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.create_server((taken, 0), family=family) as other:
        server = ServerProcess(tmp_path, "--host", host, "--insecure", "--port", str(other.getsockname()[1]))
        assert server.wait() == 2
        assert "another process uses the port" in server.log
        server.stop()


def test_localhost_with_a_free_port(tmp_path: Path) -> None:
    build_tiny_package(tmp_path)
    with running_server(tmp_path, "--host", "localhost") as server, Client(server.address) as client:
        assert len(client.sample(1)) == 1
        port = int(server.address.rpartition(":")[2])
        for *_, address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM):
            socket.create_connection(address[:2]).close()
