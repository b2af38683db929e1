"""Test encryption: what both sides accept, what they say when they cannot agree, and changes of certificates."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from authority import Authority, Pair
from ganserve import TLS, AsyncClient, Client, InvalidRequest, ServerUnavailable
from ganserve._commands import main
from ganserve_server.tls.pem_files import PemFiles
from ganserve_server.tls.server_tls import ServerTls
from repositories import wait_for
from server_process import ServerProcess, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(scope="module")
def encrypted(repository: Path, authority: Authority) -> Iterator[ServerProcess]:
    pair = authority.sign("server", "localhost", "127.0.0.1")
    with running_server(repository, *pair.server_flags, "--metrics-port", "0") as server:
        yield server


@pytest.fixture(scope="module")
def mutual(repository: Path, authority: Authority) -> Iterator[ServerProcess]:
    pair = authority.sign("mutual", "localhost", "127.0.0.1")
    with running_server(
        repository, *pair.server_flags, "--tls-client-ca", str(authority.file), "--metrics-port", "0"
    ) as server:
        yield server


def models(target: str, tls: bool | TLS | None, kind: str = "blocking") -> int:
    """Return how many models a server lists to either client, at the first attempt."""

    async def ask() -> int:
        async with AsyncClient(target, tls=tls, max_attempts=1) as client:
            return len(await client.models(timeout_s=60))

    if kind == "asyncio":
        return asyncio.run(ask())
    with Client(target, tls=tls, max_attempts=1) as client:
        return len(client.models(timeout_s=60))


def refusal(target: str, tls: bool | TLS | None, kind: str = "blocking") -> str:
    with pytest.raises(ServerUnavailable) as caught:
        models(target, tls, kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


kinds = pytest.mark.parametrize("kind", ["blocking", "asyncio"])


@kinds
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ipv4:127.0.0.1"])
def test_calls_are_encrypted(encrypted: ServerProcess, authority: Authority, kind: str, host: str) -> None:
    port = encrypted.address.rpartition(":")[2]
    assert models(f"{host}:{port}", TLS(ca=authority.file), kind)


@kinds
def test_streams_are_encrypted(encrypted: ServerProcess, authority: Authority, kind: str) -> None:
    tls = TLS(ca=authority.file)

    async def draw() -> int:
        async with AsyncClient(encrypted.address, tls=tls) as client:
            return sum([len(batch) async for batch in client.stream(100, model="tiny")])

    if kind == "asyncio":
        assert asyncio.run(draw()) == 100
    else:
        with Client(encrypted.address, tls=tls) as client:
            assert sum(len(batch) for batch in client.stream(100, model="tiny")) == 100


@kinds
def test_an_authority_that_the_client_does_not_trust_is_named(
    encrypted: ServerProcess, other_authority: Authority, kind: str
) -> None:
    for tls in (TLS(ca=other_authority.file), True):
        assert "no authority that this client trusts has signed the certificate" in refusal(
            encrypted.address, tls, kind
        )


@kinds
def test_a_certificate_for_another_name_is_refused(repository: Path, authority: Authority, kind: str) -> None:
    pair = authority.sign("elsewhere", "gan.example.org")
    with running_server(repository, *pair.server_flags) as server:
        said = refusal(server.address, TLS(ca=authority.file), kind)
        assert "is for another name: use that name as the target" in said
        assert "--tls-server-name" in said
        assert models(server.address, TLS(ca=authority.file, server_name="gan.example.org"), kind)


@kinds
@pytest.mark.parametrize(("days", "problem"), [((-3, -1), "has expired: renew it"), ((1, 3), "is not valid yet")])
def test_a_certificate_of_another_time_is_refused(
    authority: Authority, kind: str, days: tuple[int, int], problem: str
) -> None:
    pair = authority.sign(f"time {days[0]}", "127.0.0.1", from_days=days[0], to_days=days[1])
    shown = [(pair.key.read_bytes(), pair.certificate.read_bytes())]
    server = grpc.server(ThreadPoolExecutor(1))  # ganserve's would not start
    target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', grpc.ssl_server_credentials(shown))}"
    server.start()
    try:
        assert f"the certificate of the server at {target} {problem}" in refusal(target, TLS(ca=authority.file), kind)
        if kind == "blocking":
            flags = ["--target", target, "--tls-ca", str(authority.file), "--timeout-s", "60"]
            command = [sys.executable, "-m", "ganserve", "models", *flags]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 3
            assert done.stderr.startswith(
                f"ganserve models: error: the certificate of the server at {target} {problem}"
            )
            assert done.stderr.count("\n") == 1, "gRPC's own lines are not shown"
    finally:
        server.stop(0)


def test_failed_handshakes_do_not_fill_the_log(encrypted: ServerProcess) -> None:
    before = len(encrypted.log)
    host, _, port = encrypted.address.rpartition(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            while connection.recv(1000):
                pass
    assert len(encrypted.log) == before


@kinds
def test_plain_text_is_explained_on_either_side(
    encrypted: ServerProcess, server: str, authority: Authority, kind: str
) -> None:
    said = refusal(encrypted.address, tls=None, kind=kind)
    assert "if it encrypts, call it with tls=True, --tls or GANSERVE_TLS=1" in said
    said = refusal(server, TLS(ca=authority.file), kind)
    assert "does not encrypt: start it with --tls-certificate" in said


@kinds
def test_a_server_may_want_certificates_of_clients(
    mutual: ServerProcess, authority: Authority, other_authority: Authority, kind: str
) -> None:
    app = authority.sign("app")
    assert models(mutual.address, TLS(ca=authority.file, certificate=app.certificate, key=app.key), kind)
    for pair in (None, other_authority.sign("app"), authority.sign("late", from_days=-3, to_days=-1)):
        shown = {} if pair is None else {"certificate": pair.certificate, "key": pair.key}
        said = refusal(mutual.address, TLS(ca=authority.file, **shown), kind)
        assert "if it wants a client's certificate, give one that it trusts" in said


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(encrypted: ServerProcess, version: str) -> None:
    def handshake(*options: str) -> str:
        command = ["openssl", "s_client", "-connect", encrypted.address, "-alpn", "h2", *options]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=30, check=False)
        return (done.stdout + done.stderr).decode(errors="replace")

    assert "Cipher is (NONE)" in handshake(version, "-cipher", "DEFAULT:@SECLEVEL=0")
    for newer in ("-tls1_2", "-tls1_3"):
        assert "Cipher is (NONE)" not in handshake(newer)


def test_metrics_and_probes_are_encrypted(encrypted: ServerProcess, authority: Authority) -> None:
    url = encrypted.metrics_url
    assert url.startswith("https://")
    context = ssl.create_default_context(cafile=authority.file)
    with urllib.request.urlopen(f"{url}/readyz", context=context, timeout=20) as answer:
        assert answer.read().startswith(b"ok")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(f"{url.replace('https', 'http')}/readyz", timeout=20)


@pytest.mark.parametrize("encrypts", [False, True])
def test_idle_connections_keep_no_probe_out(
    encrypted: ServerProcess, repository: Path, authority: Authority, encrypts: bool
) -> None:
    with contextlib.ExitStack() as stack:
        server = encrypted if encrypts else stack.enter_context(running_server(repository, "--metrics-port", "0"))
        url = urllib.parse.urlsplit(server.metrics_url)
        began = b"\x16\x03\x01" if encrypts else b"GET /metrics HTTP"
        connections = []
        for _ in range(150):
            connections.append(stack.enter_context(socket.create_connection((url.hostname, url.port), timeout=60)))
            connections[-1].sendall(began)
        context = ssl.create_default_context(cafile=authority.file) if encrypts else None
        with urllib.request.urlopen(f"{server.metrics_url}/readyz", context=context, timeout=60) as answer:
            assert answer.status == 200
        assert connections[0].recv(1000) == b"", "the oldest is closed"


def test_probes_need_no_certificate(mutual: ServerProcess, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.file)
    with urllib.request.urlopen(f"{mutual.metrics_url}/readyz", context=context, timeout=20) as answer:
        assert answer.status == 200


def test_new_certificates_are_used_without_a_lost_call(
    repository: Path, authority: Authority, other_authority: Authority, tmp_path: Path
) -> None:
    pair = Pair(tmp_path / "server.pem", tmp_path / "server.key")
    pair.replace(authority.sign("first", "127.0.0.1"))
    both = tmp_path / "both.pem"
    both.write_bytes(authority.file.read_bytes() + other_authority.file.read_bytes())
    with (
        running_server(repository, *pair.server_flags, "--metrics-port", "0") as server,
        Client(server.address, tls=TLS(ca=authority.file)) as before,
    ):
        url = server.metrics_url
        stream = before.stream(10_000, model="tiny")
        next(stream)
        pair.replace(other_authority.sign("second", "127.0.0.1"))
        wait_for(lambda: "new certificates are in use" in server.log, "new certificates")
        assert models(server.address, TLS(ca=other_authority.file))
        assert "no authority" in refusal(server.address, TLS(ca=authority.file))
        context = ssl.create_default_context(cafile=other_authority.file)
        with urllib.request.urlopen(f"{url}/readyz", context=context, timeout=20) as answer:
            assert answer.status == 200
        assert before.models()
        assert sum(len(batch) for batch in stream) > 0


def test_authorities_of_clients_follow_their_file(
    repository: Path, authority: Authority, other_authority: Authority, tmp_path: Path
) -> None:
    trusted = tmp_path / "clients.pem"
    trusted.write_bytes(authority.file.read_bytes())
    pair = authority.sign("changing", "127.0.0.1")
    app, other = authority.sign("app"), other_authority.sign("other app")
    with running_server(repository, *pair.server_flags, "--tls-client-ca", str(trusted)) as server:
        as_other = TLS(ca=authority.file, certificate=other.certificate, key=other.key)
        refusal(server.address, as_other)
        trusted.write_bytes(other_authority.file.read_bytes())
        wait_for(lambda: "new certificates are in use" in server.log, "new certificates")
        assert models(server.address, as_other)
        refusal(server.address, TLS(ca=authority.file, certificate=app.certificate, key=app.key))


def test_a_half_written_change_keeps_the_old_certificates(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Pair(tmp_path / "server.pem", tmp_path / "server.key")
    pair.replace(authority.sign("old", "localhost"))
    tls = ServerTls(PemFiles(certificate=pair.certificate, key=pair.key))
    old, fresh = tls.certificates, authority.sign("fresh", "localhost")
    pair.certificate.write_bytes(fresh.certificate.read_bytes())
    assert not tls.look()
    assert tls.certificates is old
    assert "does not belong to the certificate" in caplog.text
    pair.key.write_bytes(fresh.key.read_bytes())
    assert tls.look()
    assert tls.certificates.chain == fresh.certificate.read_bytes()
    pair.key.unlink()
    assert not tls.look()
    assert not tls.look(), "nothing has changed since"
    assert tls.certificates.chain == fresh.certificate.read_bytes()


def test_the_environment_says_how_to_encrypt(
    encrypted: ServerProcess, server: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSERVE_TLS_CA", str(authority.file))
    assert models(encrypted.address, tls=None)
    assert models(encrypted.address, tls=True)
    assert models(server, tls=False)
    monkeypatch.setenv("GANSERVE_TLS", "0")
    assert models(server, tls=None)
    monkeypatch.setenv("GANSERVE_TLS", "perhaps")
    with pytest.raises(InvalidRequest, match="the environment variable GANSERVE_TLS: is 'perhaps'; expected 1 or 0"):
        models(server, tls=None)
    monkeypatch.setenv("GANSERVE_TLS", "1")
    monkeypatch.setenv("GANSERVE_TLS_CA", os.devnull)
    with pytest.raises(InvalidRequest, match="the environment variable GANSERVE_TLS_CA: is '/dev/null'"):
        models(server, tls=None)


def test_commands_encrypt(
    mutual: ServerProcess, authority: Authority, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    app = authority.sign("command")
    flags = ["--target", mutual.address, "--tls-ca", str(authority.file)]
    own = ["--tls-client-certificate", str(app.certificate), "--tls-client-key", str(app.key)]
    assert main(["models", *flags, *own]) == 0
    assert main(["sample", "-n", "2", "--model", "tiny", *flags, *own]) == 0
    assert main(["models", "--timeout-s", "60", *flags]) == 3
    assert "if it wants a client's certificate" in capsys.readouterr().err
    assert main(["models", "--tls-ca", str(tmp_path / "none")]) == 2
    assert f"--tls-ca {tmp_path / 'none'}: does not open: No such file" in capsys.readouterr().err
