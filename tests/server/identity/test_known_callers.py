"""Test a server that knows its callers, with both clients and by HTTP: models, streams, logs, metrics, tokens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import InferenceServerClient, InferenceServerException, service_pb2, service_pb2_grpc

from callers import PAST, CallerFile, Keys
from ganserve import TLS, AccessDenied, AsyncClient, Client, InvalidRequest, ModelNotFound
from ganserve._commands import main
from ganserve.v1 import admin_service_pb2, admin_service_pb2_grpc, gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.identity.identity import ROLES
from repositories import wait_for
from server_process import ServerProcess, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

kinds = pytest.mark.parametrize("kind", ["blocking", "asyncio"])


class Served:
    """A server and its callers."""

    def __init__(self, server: ServerProcess, callers: CallerFile, keys: Keys) -> None:
        self.server, self.callers, self.keys = server, callers, keys
        self.address = server.address
        self._changes = 0

    def change(self, change: Any, *arguments: Any, **options: Any) -> Any:
        """Change the file, and wait until the server has read it."""
        before = self.server.log.count("new identities are in use")
        result = change(*arguments, **options)
        wait_for(lambda: self.server.log.count("new identities are in use") > before, "new identities")
        return result


@pytest.fixture(scope="module")
def served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("callers")
    callers, keys = CallerFile(folder / "identities.toml"), Keys(folder)
    callers.issuer(keys.file.name)
    flags = ("--identities", str(callers.file), "--metrics-port", "0", "--log-format", "json", "--access-log", "all")
    with running_server(repository, *flags) as server:
        yield Served(server, callers, keys)


@pytest.fixture(scope="module")
def app(served: Served) -> str:
    return str(served.change(served.callers.token, "app", "sample", "score"))


def call(kind: str, address: str, method: str, *arguments: Any, token: Any, **options: Any) -> Any:
    """Call a method of either client."""

    async def ask() -> Any:
        async with AsyncClient(address, token=token, max_attempts=1) as client:
            return await getattr(client, method)(*arguments, **options)

    if kind == "asyncio":
        return asyncio.run(ask())
    with Client(address, token=token, max_attempts=1) as client:
        return getattr(client, method)(*arguments, **options)


@kinds
def test_both_clients_send_a_token(served: Served, app: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(call(kind, served.address, "sample", 3, model="tiny", token=app)) == 3
    given: list[str] = []

    def fresh() -> str:
        given.append(app)
        return app

    assert call(kind, served.address, "models", token=fresh)
    assert given == [app]
    monkeypatch.setenv("GANSERVE_TOKEN", f" {app}\n")
    assert call(kind, served.address, "models", token=None)
    with pytest.raises(AccessDenied, match=r"this server answers callers that it knows.*GANSERVE_TOKEN") as caught:
        call(kind, served.address, "models", token="wrong")
    assert caught.value.code == "UNAUTHENTICATED"
    assert caught.value.request_id in served.server.log


def test_a_coroutine_may_give_tokens(served: Served, app: str) -> None:
    async def fresh() -> str:
        await asyncio.sleep(0)
        return app

    assert call("asyncio", served.address, "models", token=fresh)

    async def stream() -> int:
        async with AsyncClient(served.address, token=fresh) as client:
            return sum([len(batch) async for batch in client.stream(50, model="tiny")])

    assert asyncio.run(stream()) == 50
    with pytest.raises(InvalidRequest, match=r"^token: is a coroutine; expected a str"):
        call("blocking", served.address, "models", token=fresh)


def test_commands_send_a_token(served: Served, app: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "token"
    file.write_text(f"{app}\n")
    assert main(["models", "--target", served.address, "--token-file", str(file)]) == 0
    assert main(["sample", "-n", "2", "--model", "tiny", "--target", served.address, "--token-file", str(file)]) == 0
    assert main(["models", "--target", served.address]) == 1
    assert "--token-file or GANSERVE_TOKEN" in capsys.readouterr().err
    assert main(["models", "--target", served.address, "--token-file", str(tmp_path / "none")]) == 2
    assert f"--token-file {tmp_path / 'none'}: does not open" in capsys.readouterr().err
    assert main(["models", "--target", "gan.example.org", "--token-file", str(file)]) == 2
    assert "in plain text" in capsys.readouterr().err


@contextlib.contextmanager
def raw(served: Served, token: str) -> Iterator[tuple[grpc.Channel, list[tuple[str, str]]]]:
    with grpc.insecure_channel(served.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel, [("authorization", f"Bearer {token}")]


def test_other_models_do_not_exist(served: Served) -> None:
    token = served.change(served.callers.token, "team", "sample", "score", "admin", models=["tiny-r*"])
    with Client(served.address, token=token, max_attempts=1) as client:
        assert [model.name for model in client.models()] == ["tiny-rgb"]
        assert client.sample(1).model == "tiny-rgb", "it is the only one"
        said = []
        for name in ("tiny", "nowhere"):
            with pytest.raises(ModelNotFound) as caught:
                client.sample(1, model=name)
            said.append(caught.value.details.replace(repr(name), "NAME"))
        assert said == ["there is no model NAME; there are: tiny-rgb"] * 2
    with raw(served, token) as (channel, metadata):
        gan = gan_service_pb2_grpc.GanServiceStub(channel)
        admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        inference = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        requests: list[tuple[Any, Any]] = [
            (gan.GetModel, lambda name: gan_service_pb2.GetModelRequest(model=name)),
            (gan.Score, lambda name: gan_service_pb2.ScoreRequest(model=name)),
            (admin.LoadModel, lambda name: admin_service_pb2.LoadModelRequest(model=name)),
            (admin.UnloadModel, lambda name: admin_service_pb2.UnloadModelRequest(model=name)),
            (inference.ModelMetadata, lambda name: service_pb2.ModelMetadataRequest(name=name)),
            (inference.ModelConfig, lambda name: service_pb2.ModelConfigRequest(name=name)),
            (inference.ModelStatistics, lambda name: service_pb2.ModelStatisticsRequest(name=name)),
            (inference.ModelInfer, lambda name: service_pb2.ModelInferRequest(model_name=name)),
            (inference.RepositoryModelUnload, lambda name: service_pb2.RepositoryModelUnloadRequest(model_name=name)),
            (inference.RepositoryModelLoad, lambda name: service_pb2.RepositoryModelLoadRequest(model_name=name)),
            (health.Check, lambda name: health_pb2.HealthCheckRequest(service=name)),
        ]
        for method, request in requests:
            answers = set()
            for name in ("tiny", "nowhere", "tiny.critic", "nowhere.critic"):
                with pytest.raises(grpc.RpcError) as refused:
                    method(request(name), metadata=metadata, timeout=20)
                assert refused.value.code() is grpc.StatusCode.NOT_FOUND
                answers.add(refused.value.details().replace(repr(name), "NAME"))
            assert len(answers) == 1
        listed = inference.RepositoryIndex(service_pb2.RepositoryIndexRequest(), metadata=metadata)
        assert {model.name for model in listed.models} == {"tiny-rgb", "tiny-rgb.critic"}
        ready = inference.ModelReady(service_pb2.ModelReadyRequest(name="tiny"), metadata=metadata)
        assert not ready.ready
        # What it reloads is everything, and what it is told only its own.
        reloaded = admin.ReloadRepository(admin_service_pb2.ReloadRepositoryRequest(), metadata=metadata)
        assert [model.name for model in reloaded.models] == ["tiny-rgb"]
        admin.UnloadModel(admin_service_pb2.UnloadModelRequest(model="tiny-rgb"), metadata=metadata)
        admin.LoadModel(admin_service_pb2.LoadModelRequest(model="tiny-rgb", version=1), metadata=metadata)
    everything = served.change(served.callers.token, "operator", "sample")
    with raw(served, everything) as (channel, metadata):
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("tiny", "tiny-rgb"):  # changes by one team hide no model from others
            status = health.Check(health_pb2.HealthCheckRequest(service=name), metadata=metadata).status
            assert status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError) as refused:
                health.Check(health_pb2.HealthCheckRequest(service=name))
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_graph_decides_about_the_role(served: Served) -> None:
    sampler = served.change(served.callers.token, "sampler", "sample")
    scorer = served.change(served.callers.token, "scorer", "score")
    for token, allowed, denied in ((sampler, "tiny", "tiny.critic"), (scorer, "tiny.critic", "tiny")):
        with raw(served, token) as (channel, metadata):
            inference = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = service_pb2.ModelInferRequest(model_name=denied)
            with pytest.raises(grpc.RpcError) as refused:
                inference.ModelInfer(request, metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            [streamed] = inference.ModelStreamInfer(iter([request]), metadata=metadata)
            assert streamed.error_message.startswith("[PERMISSION_DENIED]")
            request = service_pb2.ModelInferRequest(model_name=allowed)
            [streamed] = inference.ModelStreamInfer(iter([request]), metadata=metadata)
            assert "PERMISSION_DENIED" not in streamed.error_message


@pytest.mark.parametrize("reads", [True, False])
def test_a_revoked_token_ends_streams(served: Served, reads: bool) -> None:
    name = f"streamer-{reads}"
    token, over = served.change(served.callers.token, name, "sample", "score"), threading.Event()
    with raw(served, token) as (channel, metadata), contextlib.ExitStack() as stack:
        stack.callback(over.set)
        gan = gan_service_pb2_grpc.GanServiceStub(channel)
        request = gan_service_pb2.SampleRequest(model="tiny", count=10**9)
        drawing = gan.StreamSamples(gan_service_pb2.StreamSamplesRequest(request=request), metadata=metadata)
        next(drawing)
        waiting = gan.StreamScores(_no_requests(over), metadata=metadata)
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), metadata=metadata)
        next(watching)
        served.change(served.callers.remove, name)
        if not reads:
            wait_for(lambda: "streams: their callers are no longer known" in served.server.log, "the end of streams")
        for stream in (drawing, watching, waiting):
            with pytest.raises(grpc.RpcError) as ended:
                for _ in stream:
                    pass
            assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED, ended.value
            assert "this server answers callers that it knows" in ended.value.details()


def _no_requests(over: threading.Event) -> Iterator[gan_service_pb2.StreamScoresRequest]:
    """Send nothing until the test is over."""
    over.wait(60)
    yield from ()


def test_an_expired_jwt_ends_streams(served: Served) -> None:
    for lives_s in (3, 10, 60):  # a busy machine may take longer to begin
        expires = int(time.time()) - 10 + lives_s  # the server forgives ten seconds
        with Client(served.address, token=served.keys.token(["sample"], exp=expires)) as client:
            stream = client.stream(10**9, model="tiny")
            try:
                next(stream)
            except AccessDenied:
                continue
            with pytest.raises(AccessDenied):
                for _ in stream:
                    pass
            return
    pytest.fail("no stream began before its token expired")


def test_a_jwt_whose_key_is_removed_ends_streams(served: Served) -> None:
    with Client(served.address, token=served.keys.token(["sample"])) as client:
        stream = client.stream(10**9, model="tiny")
        next(stream)
        served.keys.write(served.keys.entries()[1:])
        try:
            with pytest.raises(AccessDenied):
                for _ in stream:
                    pass
        finally:
            served.keys.write()


def http(served: Served, path: str, token: str | None = None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{served.server.metrics_url}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_metrics_need_a_role_and_probes_do_not(served: Served) -> None:
    """The matrix of the HTTP port: each path for each role and each way to show it."""
    callers, keys = served.callers, served.keys
    refused: list[str | None] = [None, "wrong"]
    for role in ROLES:
        refused += [callers.token(f"late-{role}", role, expires=PAST), callers.token(f"revoked-{role}", role)]
        refused += [
            keys.token([role], aud="other"),
            keys.token([role], exp=10**9),
            keys.token([role], header={"kid": "x"}),
        ]
    right = {role: [callers.token(f"http-{role}", role), keys.token([role])] for role in ROLES}
    served.change(callers.token, "last", "sample")
    assert http(served, "/metrics", right["metrics"][0]) == 200
    for role in ROLES:
        callers.remove(f"revoked-{role}")
    served.change(callers.remove, "last")
    assert {http(served, "/metrics", token) for token in refused} == {401}
    for role, tokens in right.items():
        assert {http(served, "/metrics", token) for token in tokens} == {200 if role == "metrics" else 403}, role
    for path in ("/healthz", "/readyz"):
        assert {http(served, path, token) for token in (*refused, *right["sample"])} == {200}


def test_refusals_of_http_are_counted_and_logged(served: Served, app: str) -> None:
    scraper = served.callers.token("counter", "metrics")
    sampler = served.change(served.callers.token, "sampler-only", "sample")

    def counted() -> tuple[float, float]:
        [denied] = re.findall(r"^ganserve_denied_total (\S+)", metrics(served, scraper), re.MULTILINE)
        [unknown] = re.findall(r'refused_callers_total{reason="unknown_token"} (\S+)', metrics(served, scraper))
        return float(denied), float(unknown)

    before = counted()
    assert http(served, "/metrics", app) == 403
    assert http(served, "/metrics", "gsv_secret-of-http") == 401
    with raw(served, sampler) as (channel, metadata):  # a request inside a stream counts, too
        request = service_pb2.ModelInferRequest(model_name="tiny.critic")
        list(service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request]), metadata=metadata))
    assert counted() == (before[0] + 2, before[1] + 1)
    lines = [json.loads(line) for line in served.server.log.splitlines() if "GET " in line]
    refused = {line["code"]: line for line in lines if line["method"] == "GET '/metrics'"}
    assert refused["UNAUTHENTICATED"]["reason"] == "unknown_token"
    assert refused["PERMISSION_DENIED"]["caller"] == "app"
    assert all(line["request_id"] and line["peer"] == "127.0.0.1" for line in refused.values())
    assert "secret-of-http" not in served.server.log


def metrics(served: Served, token: str) -> str:
    request = urllib.request.Request(
        f"{served.server.metrics_url}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(answer.read(), "utf-8")


def test_refusals_are_counted_and_logged_without_secrets(served: Served, app: str) -> None:
    scraper = served.change(served.callers.token, "reader", "metrics")
    secret = "gsv_this-is-a-secret-that-no-log-may-show"
    with Client(served.address, token=secret, max_attempts=1) as client, pytest.raises(AccessDenied) as caught:
        client.models()
    with Client(served.address, token=app, max_attempts=1) as client:
        client.sample(1, model="tiny")
    with Client(served.address, token=scraper, max_attempts=1) as client, pytest.raises(AccessDenied) as denied:
        client.models()
    assert denied.value.code == "PERMISSION_DENIED"
    text = metrics(served, scraper)
    assert 'ganserve_refused_callers_total{reason="unknown_token"}' in text
    assert "ganserve_denied_total" in text
    lines = [json.loads(line) for line in served.server.log.splitlines() if line.startswith("{")]
    by_id = {line["request_id"]: line for line in lines if "request_id" in line}
    assert by_id[caught.value.request_id]["reason"] == "unknown_token"
    assert "caller" not in by_id[caught.value.request_id]
    assert by_id[denied.value.request_id]["caller"] == "reader"
    assert any(line.get("caller") == "app" and line["code"] == "OK" for line in lines)
    assert secret not in served.server.log
    assert app not in served.server.log
    assert app not in text


def test_a_certificate_alone_can_be_enough(repository: Path, authority: Any) -> None:
    pair, worker = authority.sign("closed", "127.0.0.1"), authority.sign("any worker")
    with (
        running_server(repository, *pair.server_flags, "--tls-client-ca", str(authority.file)) as server,
        Client(server.address, tls=TLS(ca=authority.file, certificate=worker.certificate, key=worker.key)) as client,
    ):
        assert client.sample(1, model="tiny")
        assert client.models()


def test_tritons_client_sends_a_token_over_tls(repository: Path, authority: Any, tmp_path: Path) -> None:
    callers, pair = CallerFile(tmp_path / "identities.toml"), authority.sign("triton", "localhost")
    token = callers.token("triton", "sample")
    with running_server(repository, *pair.server_flags, "--identities", str(callers.file)) as server:
        address = f"localhost:{server.address.rpartition(':')[2]}"
        with InferenceServerClient(address, ssl=True, root_certificates=str(authority.file)) as client:
            headers = {"authorization": f"Bearer {token}"}
            assert client.is_server_ready()
            assert client.infer("tiny", [], headers=headers).as_numpy("samples").shape[0] == 1
            for refused, code in (({}, "UNAUTHENTICATED"), (headers, "PERMISSION_DENIED")):
                with pytest.raises(InferenceServerException) as caught:
                    client.load_model("tiny", headers=refused)
                assert caught.value.status() == f"StatusCode.{code}"
