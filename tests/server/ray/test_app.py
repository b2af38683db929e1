"""Test the application of Ray Serve: its settings, and its calls on a real cluster of two nodes."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import psutil
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ganserve import Client, InvalidRequest, ModelNotFound
from ganserve.v1 import gan_service_pb2
from ganserve_server.errors import StartupError
from page_process import free_port
from ray_cluster import needs_ray
from repositories import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, needs_ray]


class Served:
    """A running application."""

    def __init__(self, target: str, url: str) -> None:
        self.target, self.url = target, url

    def post(
        self, method: str, body: bytes, kind: str = "application/json", prefix: str = "", **headers: str
    ) -> tuple[int, bytes]:
        """Call a method of the application at a route prefix over HTTP, and return status and body."""
        url = f"{self.url}{prefix}/ganserve.v1.GanService/{method}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, body, {"content-type": kind, **named})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture(scope="module")
def served(cluster: str, repository: Path) -> Iterator[Served]:
    import ray
    from ray import serve
    from ray.serve.config import gRPCOptions

    from ganserve_server.ray.app import GRPC_SERVICERS, build

    ray.init(cluster, log_to_driver=False)
    http, calls = free_port(), free_port()
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": "127.0.0.1", "port": http},
        grpc_options=gRPCOptions(port=calls, grpc_servicer_functions=list(GRPC_SERVICERS)),
    )
    settings = {"models": repository, "min_replicas": "2", "max_replicas": "3", "queue": "4"}
    try:
        serve.run(build(settings), name="ganserve", route_prefix="/")
        yield Served(f"127.0.0.1:{calls}", f"http://127.0.0.1:{http}")
    finally:
        serve.shutdown()
        ray.shutdown()


def replicas() -> list[int]:
    """Return the process IDs of the replicas."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "ServeReplica:ganserve" in " ".join(process.info["cmdline"] or [])
    ]


def test_calls_of_the_sdk(served: Served, server: str) -> None:
    """The answers are those of `ganserve serve`."""
    with Client(served.target, model="tiny") as there, Client(server, model="tiny") as here:
        assert [model.name for model in there.models()] == [model.name for model in here.models()]
        drawn, expected = (client.sample(20, label="two", seed=5, return_scores=True) for client in (there, here))
        assert np.array_equal(drawn.samples, expected.samples)
        assert np.array_equal(drawn.scores, expected.scores)
        streamed = [*there.stream(300, seed=5, chunk_size=64)]
        assert np.array_equal(np.concatenate([each.samples for each in streamed]), here.sample(300, seed=5).samples)
        assert np.array_equal(there.score(drawn).scores, expected.scores)
        assert [len(each) for each in there.score_stream([drawn, drawn.samples[:3]], label="two")] == [20, 3]
        with pytest.raises(InvalidRequest, match="label: is 'x'; model 'tiny' has the labels"):
            there.sample(2, label="x")
        with pytest.raises(InvalidRequest, match="label: is 'x'; model 'tiny' has the labels"):
            next(there.stream(2, label="x"))
        with pytest.raises(ModelNotFound, match="nosuch"):
            there.sample(2, model="nosuch")


def test_health(served: Served) -> None:
    with grpc.insecure_channel(served.target) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        with pytest.raises(grpc.RpcError) as refused:
            list(watching)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED  # which clients take for healthy
    with urllib.request.urlopen(f"{served.url}/-/healthz", timeout=30) as healthy:
        assert healthy.status == 200


def test_http(served: Served) -> None:
    request = gan_service_pb2.SampleRequest(model="tiny", count=3, seed=5, label_names=["two"])
    with Client(served.target) as client:
        expected = client.sample(3, model="tiny", label="two", seed=5).samples.tobytes()
    status, body = served.post("Sample", request.SerializeToString(), "application/proto")
    assert status == 200
    assert gan_service_pb2.SampleResponse.FromString(body).samples.tensor.data == expected
    status, body = served.post("Sample", json.dumps({"model": "tiny", "count": 3, "label_names": ["two"]}).encode())
    assert status == 200
    assert json.loads(body)["labelNames"] == ["two", "two", "two"]
    assert served.post("ListModels", b"")[0] == 200
    for method, content, kind, wanted, said_so in [
        ("Sample", b'{"model": "tiny"}', "application/json", 400, "count: is 0"),
        ("Sample", b'{"cuont": 3}', "application/json", 400, "body: is not a SampleRequest"),
        ("Sample", b"\xff\xff", "application/proto", 400, "body: is not a SampleRequest"),
        ("Sample", b'{"model": "nosuch", "count": 1}', "application/json", 404, "nosuch"),
        ("StreamSamples", b"{}", "application/json", 404, "no such call"),
        ("Sample", b"{}", "text/html", 415, "content-type text/html"),
    ]:
        status, body = served.post(method, content, kind)
        assert status == wanted
        assert said_so in json.loads(body)["message"]


def test_http_headers_of_connect(served: Served) -> None:
    """Errors have details; deadlines count, and what is not supported is refused."""
    status, body = served.post("Sample", b'{"model": "tiny"}')
    (detail,) = json.loads(body)["details"]
    assert (status, detail["type"]) == (400, "google.rpc.BadRequest")
    value = base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4))
    assert error_details_pb2.BadRequest.FromString(value).field_violations[0].field == "count"
    call = b'{"model": "tiny", "count": 3}'
    for headers, wanted, said_so in [
        ({"connect_timeout_ms": "60000"}, 200, ""),
        ({"connect_timeout_ms": "0"}, 504, "connect-timeout-ms, is over"),
        ({"connect_timeout_ms": "soon"}, 400, "connect-timeout-ms: is 'soon'"),
        ({"content_encoding": "gzip"}, 501, "content-encoding gzip: not supported"),
    ]:
        status, body = served.post("Sample", call, **headers)
        assert status == wanted
        assert said_so in json.loads(body).get("message", "")


def test_a_long_request_holds_nobody_up(served: Served) -> None:
    """Each replica answers others while it reads millions of labels."""
    long = json.dumps({"model": "tiny", "count": 3, "label_names": ["one"] * 1_500_000}).encode()
    answers: list[tuple[int, bytes]] = []
    callers = [threading.Thread(target=lambda: answers.append(served.post("Sample", long))) for _ in range(2)]
    for caller in callers:
        caller.start()
    others = 0
    while any(caller.is_alive() for caller in callers):
        assert served.post("Sample", b'{"model": "tiny", "count": 1}')[0] == 200
        others += 1
    assert others > 10
    assert [status for status, _ in answers] == [400, 400]
    assert b"has 1500000 entries" in answers[0][1]


def test_a_second_application(served: Served) -> None:
    """It has a route prefix over HTTP; over gRPC the metadata name it."""
    from ray import serve

    from ganserve_server.ray.app import build

    settings = {"demo": "true", "min_replicas": "1", "max_replicas": "1"}
    try:
        serve.run(build(settings), name="second", route_prefix="/second")
        status, body = served.post("ListModels", b"{}", prefix="/second")
        assert status == 200
        assert [model["name"] for model in json.loads(body)["models"]] == ["mnist"]
        with Client(served.target, metadata={"application": "second"}) as client:
            assert client.sample(2, label=7, seed=1).model == "mnist"
        with Client(served.target, metadata={"application": "ganserve"}) as client:
            assert client.sample(2, model="tiny", seed=1).model == "tiny"
        with Client(served.target) as client, pytest.raises(ModelNotFound, match="Application metadata not set"):
            client.models()
    finally:
        serve.delete("second")


def test_a_killed_replica_loses_no_call(served: Served) -> None:
    """Callers that draw and stream notice nothing, while a replica is killed and replaced."""
    before = replicas()
    assert len(before) >= 2
    failures: list[Exception] = []
    answered: list[int] = []
    stop = threading.Event()

    def call(number: int) -> None:
        with Client(served.target, model="tiny-rgb", timeout_s=120) as client:
            expected = client.sample(400, seed=number).samples
            while not stop.is_set():
                try:
                    drawn = client.sample(400, seed=number).samples
                    parts = [part.samples for part in client.stream(2000, seed=number, chunk_size=100)]
                    assert np.array_equal(drawn, expected)
                    assert np.array_equal(np.concatenate(parts)[:400], expected)
                    assert sum(map(len, parts)) == 2000
                    answered.append(number)
                except Exception as error:
                    failures.append(error)
                    raise

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    try:
        wait_for(lambda: len(answered) >= 4, "answers", patience_s=120)
        os.kill(before[0], signal.SIGKILL)
        so_far = len(answered)
        wait_for(lambda: len(answered) >= so_far + 8, "answers after the end of a replica", patience_s=120)
        wait_for(lambda: len(replicas()) >= 2, "another replica", patience_s=120)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert not failures, failures[0]


def test_more_calls_make_more_replicas(served: Served) -> None:
    """With more calls in flight than `queue` for each replica, a third one starts."""
    stop = threading.Event()

    def call() -> None:
        with Client(served.target, model="tiny", timeout_s=120) as client:
            while not stop.is_set():
                client.sample(1000, seed=1)

    callers = [threading.Thread(target=call) for _ in range(24)]
    for caller in callers:
        caller.start()
    try:
        wait_for(lambda: len(replicas()) >= 3, "a third replica", patience_s=180)
    finally:
        stop.set()
        for caller in callers:
            caller.join()


@pytest.mark.parametrize(
    ("settings", "said_so"),
    [
        ({"model": "x"}, "model: no such setting. There are models, demo,"),
        ({"max_replicas": "many"}, "max_replicas many: not a number. Give one, such as 1."),
        ({"max_replicas": "0", "min_replicas": "0"}, "max_replicas 0: must be at least 1."),
        ({"min_replicas": 4}, "max_replicas 2: must be at least min_replicas, 4."),
        ({"gpus": "1.5"}, "gpus 1.5: must be a whole number above 1. Give 1, 2 or more."),
        ({"gpus": "nan"}, "gpus nan: must be a whole number above 1."),
        ({"demo": "perhaps"}, "demo perhaps: not true or false."),
        ({"provider": "gpu"}, "provider gpu: not a choice. Give one of auto, cuda, tensorrt, openvino, cpu."),
        ({"demo": "true", "models": "mine"}, "--demo: serves its own model"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], said_so: str) -> None:
    from ganserve_server.ray.app import build

    with pytest.raises(StartupError) as error:
        build(settings)
    assert str(error.value).startswith(said_so)
