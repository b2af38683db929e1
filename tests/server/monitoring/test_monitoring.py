"""Test metrics and probes of real servers over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ganserve.v1 import gan_service_pb2
from ganserve_server.engine.sessions import EngineConfig
from ganserve_server.errors import UnavailableError
from ganserve_server.models.repository import Repository
from ganserve_server.monitoring import metric_definitions as definitions
from ganserve_server.monitoring.call_tracking import CallStatistics
from ganserve_server.monitoring.metric_collector import ServerCollector, _Graphs, make_registry
from ganserve_server.queue.options import BatchConfig
from ganserve_server.queue.statistics import GraphStatistics
from in_process import in_process_server
from server_process import ServerProcess, running_server
from stubs import TIMEOUT_S, connected
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stubs import Stubs

ROOT = Path(__file__).parents[3]


def fetch(url: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Scrape:
    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, tuple(sorted(labels.items()))]

    def labels_of(self, name: str, label: str) -> set[str]:
        return {dict(labels)[label] for sample, labels in self.samples if sample == name}


def scrape(server: ServerProcess) -> Scrape:
    status, text = fetch(f"{server.metrics_url}/metrics")
    assert status == 200
    return Scrape(text)


@pytest.fixture(scope="module")
def monitored(repository: Path) -> Iterator[ServerProcess]:
    with running_server(repository, "--metrics-port", "0") as server:
        yield server


@pytest.fixture
def calls(monitored: ServerProcess) -> Iterator[Stubs]:
    with connected(monitored.address) as stubs:
        yield stubs


def test_calls_are_counted_by_method_and_code(monitored: ServerProcess, calls: Stubs) -> None:
    method = "/ganserve.v1.GanService/Sample"

    def counts() -> dict[str, float]:
        found = scrape(monitored)
        codes = {code: found.value("ganserve_requests_total", method=method, code=code) for code in ("OK", "NOT_FOUND")}
        return codes | {"all": found.value("ganserve_request_seconds_count", method=method)}

    def call(model: str) -> None:
        with contextlib.suppress(grpc.RpcError):
            calls.sample(model=model, count=1)

    for model in ("tiny", "nope"):
        call(model)
    before = counts()
    for model in ("tiny", "tiny", "nope"):
        call(model)
    after = counts()
    assert {code: after[code] - before[code] for code in after} == {"OK": 2, "NOT_FOUND": 1, "all": 3}


def test_graphs_are_counted_by_model_and_version(monitored: ServerProcess, calls: Stubs) -> None:
    labels = {"model": "tiny-rgb", "version": "1"}

    def counts() -> list[float]:
        found = scrape(monitored)
        return [
            found.value("ganserve_samples_total", graph="generator", **labels),
            found.value("ganserve_samples_total", graph="critic", **labels),
            found.value("ganserve_graph_requests_total", graph="generator", **labels),
            found.value("ganserve_batch_size_sum", graph="generator", **labels),
            found.value("ganserve_queue_seconds_count", graph="generator", **labels),
        ]

    before = counts()
    calls.sample(model="tiny-rgb", count=5, return_scores=True)
    calls.sample(model="tiny-rgb", count=1)
    after = counts()
    assert [now - then for now, then in zip(after, before, strict=True)] == [6, 5, 2, 6, 2]


def test_the_build_and_the_providers_are_reported(monitored: ServerProcess) -> None:
    found = scrape(monitored)
    provider = "CPUExecutionProvider"
    assert found.value("ganserve_model_info", model="tiny", version="2", provider=provider, state="ready") == 1
    nodes = found.value("ganserve_provider_nodes", model="tiny", version="2", graph="generator", provider=provider)
    assert nodes >= 1
    assert found.value("ganserve_ready") == 1
    assert found.value("ganserve_running_requests") == 0
    assert found.labels_of("ganserve_build_info", "onnxruntime")
    assert found.value("process_resident_memory_bytes") > 0


def test_unknown_methods_add_no_series(monitored: ServerProcess, calls: Stubs) -> None:
    before = scrape(monitored)
    for number in range(5):
        with pytest.raises(grpc.RpcError) as caught:
            calls.channel.unary_unary(f"/ganserve.v1.GanService/Invented{number}")(b"", timeout=TIMEOUT_S)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert f"there is no method '/ganserve.v1.GanService/Invented{number}'" in caught.value.details()
    after = scrape(monitored)
    assert not any("Invented" in method for method in after.labels_of("ganserve_requests_total", "method"))
    unknown = {"method": "unknown", "code": "UNIMPLEMENTED"}
    key = "ganserve_requests_total", tuple(sorted(unknown.items()))
    assert after.samples[key] - before.samples.get(key, 0) == 5


def test_the_dashboard_and_the_documentation_have_exactly_all_metrics(monitored: ServerProcess, calls: Stubs) -> None:
    calls.sample(model="tiny", count=1)
    found = scrape(monitored)
    dashboard = json.loads((ROOT / "dashboards" / "ganserve.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    shown = {name for text in expressions for name in re.findall(r"\b((?:ganserve|process)_[a-z_]+)\{", text)}
    there = {name for name, _ in found.samples}
    assert shown <= there
    defined = {metric.sample_name for metric in definitions.METRICS}
    assert {name for name in shown if name.startswith("ganserve_")} == defined
    assert {family for family in found.families if family.startswith("ganserve_")} == {
        metric.name for metric in definitions.METRICS
    }
    for metric in definitions.METRICS:
        family = found.families[metric.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_the_dashboard_is_current() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_dashboard.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_probes_and_other_paths(monitored: ServerProcess) -> None:
    assert fetch(f"{monitored.metrics_url}/healthz") == (200, "ok\n")
    assert fetch(f"{monitored.metrics_url}/readyz") == (200, "ok, on CPUExecutionProvider\n")
    assert fetch(f"{monitored.metrics_url}/readyz", "HEAD") == (200, "")
    assert fetch(f"{monitored.metrics_url}/") == (404, "there are: /metrics, /healthz, /readyz\n")
    assert fetch(f"{monitored.metrics_url}/metrics", "POST")[0] == 405


def test_openmetrics_on_request(monitored: ServerProcess) -> None:
    status, text = fetch(f"{monitored.metrics_url}/metrics", headers={"Accept": "application/openmetrics-text"})
    assert status == 200
    assert text.endswith("# EOF\n")


def test_a_taken_metrics_port_is_refused(repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "ganserve_server", "--models", str(repository), "--port", "0"]
        result = subprocess.run(
            [*command, "--metrics-port", port], capture_output=True, text=True, timeout=60, check=False
        )
    assert result.returncode == 2
    refusal = (
        f"cannot listen on 127.0.0.1:{port} for metrics: another process uses the port; choose another with --metrics-"
    )
    assert refusal in result.stderr


def test_without_the_flag_no_metrics_port_is_open(server_process: ServerProcess) -> None:
    assert "metrics  " not in server_process.log


def test_a_draining_server_is_alive_but_not_ready(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny")
    with running_server(tmp_path, "--metrics-port", "0") as server, connected(server.address) as stubs:
        stream = stubs.open_stream(count=2**40, seed=1)
        next(stream)
        server.terminate()
        server.wait_for(re.compile("stopping: new calls are refused"))
        assert fetch(f"{server.metrics_url}/readyz") == (503, "the server is shutting down\n")
        assert fetch(f"{server.metrics_url}/healthz") == (200, "ok\n")
        assert scrape(server).value("ganserve_ready") == 0
        assert scrape(server).value("ganserve_running_requests") == 1
        stream.cancel()
        assert server.wait() == 0


def test_series_outlive_a_version_and_continue_after_a_reload(tmp_path: Path) -> None:
    build_tiny_package(tmp_path, "tiny")

    async def main() -> None:
        async with in_process_server(tmp_path) as server:
            collector = ServerCollector(server.server.calls, lambda: True)
            collector.follow(server.repository)
            registry = make_registry(collector)
            labels = {"model": "tiny", "version": "1", "graph": "generator"}

            async def sample(count: int) -> None:
                await server.gan.Sample(gan_service_pb2.SampleRequest(count=count), timeout=TIMEOUT_S)

            await sample(3)
            for expected in (7, 11, 15, 19, 23, 27):
                await asyncio.to_thread(server.repository.unload_model, "tiny", 1)
                assert registry.get_sample_value("ganserve_samples_total", labels) == expected - 4
                await asyncio.to_thread(server.repository.load_model, "tiny", 1)
                await sample(4)
                assert registry.get_sample_value("ganserve_samples_total", labels) == expected
            assert registry.get_sample_value("ganserve_batch_size_sum", labels) == 27

    asyncio.run(main())


def test_a_missing_repository_is_reported_while_its_models_serve(tmp_path: Path) -> None:
    build_tiny_package(tmp_path / "models", "tiny")
    repository = Repository(
        tmp_path / "models",
        EngineConfig(provider="CPUExecutionProvider", threads=1),
        BatchConfig(max_batch_size=8, max_queued_samples=8, workers=1),
    )
    repository.load()
    collector = ServerCollector(CallStatistics(), lambda: True)
    collector.follow(repository)
    registry = make_registry(collector)

    def seen() -> tuple[float | None, list[str]]:
        with contextlib.suppress(UnavailableError):
            repository.reload()
        return registry.get_sample_value("ganserve_repository_readable"), collector.providers()

    serving = ["CPUExecutionProvider"]
    assert seen() == (1, serving)
    (tmp_path / "models").rename(tmp_path / "away")
    assert seen() == (0, serving)
    (tmp_path / "away").rename(tmp_path / "models")
    assert seen() == (1, serving)
    repository.close()


def test_series_of_old_versions_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        generator = type("Batcher", (), {"statistics": GraphStatistics(samples=3)})
        critic = None

    graphs = _Graphs()
    graphs.update([(("m", "1"), Gone())])
    graphs.update([])
    assert [labels for labels, _ in graphs.items()] == [("m", "1", "generator")]
    later = time.monotonic() + 1000
    monkeypatch.setattr(time, "monotonic", lambda: later)
    graphs.update([])
    assert graphs.items() == []
