"""Test the manifests: what Helm's engine, Kubernetes' schemas, compose, systemd and promtool say about them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import Chart
from helm_python.chart import lint
from helm_python.errors import HelmError

from documents import DOCS
from ganserve_server.exposure import check_exposure
from ganserve_server.settings import ServerConfig
from ganserve_server.settings_sources import read_configuration

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "ganserve"
VERSIONS = ("1.27", "1.34")  # the oldest that the chart names, and a new one
OPEN: dict[str, Any] = {"tls": {"secret": ""}, "identities": {"secret": ""}, "insecure": True}
EVERYTHING: dict[str, Any] = {
    "packages": {"image": "packages:1"},
    "settings": {
        "max_batch_size": 65536,
        "trace_ratio": 0.25,
        "batch_buckets": [1, 16],
        "otlp_endpoint": "http://collector:4317",
        "tf32": True,
        "log_format": "text",
    },
    "gpus": 2,
    "tls": {"clientCa": True},
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "tokenSecret": "metrics"},
    "networkPolicy": {"egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 4317}]}]},
    "podAnnotations": {"a": "b"},
    "imagePullSecrets": [{"name": "x"}],
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "extraEnv": [{"name": "OTEL_SERVICE_NAME", "value": "gan"}],
}


def tool(name: str) -> str:
    """Return a program that the extra dev brings."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, f"the extra dev brings {name}"
    return found


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rendered(values: dict[str, Any], name: str = "ganserve") -> dict[str, dict[str, Any]]:
    """Return the chart's objects by kind."""
    with Chart.load(CHART) as chart:
        chart.validate_schema(values)  # as `helm install` does
        files = chart.render(values, name=name, namespace="gan")
    objects = [each for file, text in files.items() if file.endswith(".yaml") for each in yaml.safe_load_all(text)]
    return {each["kind"]: each for each in objects if each}


def settings_of(container: dict[str, Any]) -> ServerConfig:
    """Return what the server makes of a container's variables, as it starts."""
    config = read_configuration([], {each["name"]: each["value"] for each in container["env"]}).config
    check_exposure(config)
    return config


def server_container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(container)


def hardened(pod: dict[str, Any]) -> None:
    """Check the restricted standard of pod security."""
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        context = container["securityContext"]
        both = {**pod.get("securityContext", {}), **context}
        assert both["runAsNonRoot"] is True
        assert both["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("values", [{}, OPEN, EVERYTHING], ids=["defaults", "open", "everything"])
def test_the_chart_renders_valid_objects(values: dict[str, Any]) -> None:
    report = lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []
    objects = rendered(values)
    for kind, each in objects.items():
        assert each["metadata"]["namespace"] == "gan"
        if kind != "ServiceMonitor":  # of the Prometheus operator
            for version in VERSIONS:
                kubernetes_validate.validate(each, version, strict=True)
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    hardened(pod)
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    container = server_container(objects)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    config = settings_of(container)
    assert pod["terminationGracePeriodSeconds"] > config.drain_delay_s + config.drain_timeout_s
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (ports["grpc"], ports["metrics"]) == (config.port, config.metrics_port)
    encrypted = "HTTP" if config.tls_certificate is None else "HTTPS"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == encrypted


def test_settings_and_gpus_reach_the_server() -> None:
    objects = rendered(EVERYTHING)
    container = server_container(objects)
    config = settings_of(container)
    assert (config.max_batch_size, config.trace_ratio, config.batch_buckets) == (65536, 0.25, (1, 16))
    assert (config.tf32, config.provider, config.log_format) == (True, "cuda", "text")
    assert config.tls_client_ca == Path("/run/ganserve/tls/ca.crt")
    assert container["image"] == "ganserve:0.1.0-cuda"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    (init,) = objects["Deployment"]["spec"]["template"]["spec"]["initContainers"]
    assert init["command"] == ["cp", "-R", "/packages/.", "/models/"]
    (metric,) = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "ganserve_queued_samples"
    assert "replicas" not in objects["Deployment"]["spec"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"tls": {"secret": ""}}, "Give both; or tls.secret with tls.clientCa; or accept it with insecure: true"),
        ({"identities": {"secret": ""}}, "tls.secret, identities.secret: one is empty"),
        ({"settings": {"open_health": False}}, "settings.open_health: is false, but the kubelet's probes"),
        ({"insecure": True}, "insecure: is true, but tls.secret and identities.secret protect"),
        ({"packages": {"volume": None}}, "packages.volume: is empty, and so is packages.image"),
        ({"settings": {"host": "0.0.0.0"}}, "invalid propertyName 'host'"),
        ({"replica": 2}, "replica"),
        ({"service": {"port": 0}}, "port"),
    ],
)
def test_the_chart_refuses_what_cannot_work(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(HelmError, match=problem):
        rendered(values)


def test_releases_of_any_name_stay_within_kubernetes_limits() -> None:
    for name in ("a", "digits", "x" * 53, "my-ganserve-eu"):
        for each in rendered({}, name).values():
            assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", each["metadata"]["name"])
            assert "ganserve" in each["metadata"]["name"] or name == "x" * 53


def test_the_manifests_are_the_charts_and_valid() -> None:
    run(sys.executable, ROOT / "scripts" / "render_manifests.py", "--check")
    for each in yaml.safe_load_all((DEPLOY / "kubernetes" / "ganserve.yaml").read_text()):
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)


def test_kserves_runtime_is_a_pod_that_the_server_understands() -> None:
    runtime = yaml.safe_load((DEPLOY / "kserve" / "serving-runtime.yaml").read_text())
    service = yaml.safe_load((DEPLOY / "kserve" / "inference-service.yaml").read_text())
    spec = runtime["spec"]
    assert (runtime["apiVersion"], runtime["kind"]) == ("serving.kserve.io/v1alpha1", "ServingRuntime")
    assert spec["protocolVersions"] == ["grpc-v2"]
    # Its containers and volumes are those of a pod.
    pod = {"containers": spec["containers"], "volumes": spec["volumes"]}
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}
    kubernetes_validate.validate(whole, VERSIONS[-1], strict=True)
    hardened(pod)
    (container,) = spec["containers"]
    assert container["name"] == "kserve-container"  # KServe finds it by this name
    config = settings_of(container)
    assert config.models == Path("/mnt/models")
    assert config.drain_delay_s + config.drain_timeout_s < 30  # Kubernetes' terminationGracePeriodSeconds
    assert container["ports"] == [{"name": "h2c", "containerPort": config.port, "protocol": "TCP"}]
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"].items() <= spec["supportedModelFormats"][0].items()
    assert model["protocolVersion"] in spec["protocolVersions"]


def test_compose_understands_its_files(tmp_path: Path) -> None:
    base = ["-f", str(DEPLOY / "compose" / "compose.yaml")]
    secure = ["-f", str(DEPLOY / "compose" / "compose.secure.yaml")]
    environment = {"GRAFANA_PASSWORD": "x", "SECRETS": str(tmp_path)}
    for files, hosts in ((base, {"127.0.0.1"}), ([*base, *secure], {None, "127.0.0.1"})):
        whole = yaml.safe_load(run(tool("docker-compose"), *files, "config", environment=environment))
        services = whole["services"]
        assert {port.get("host_ip") for each in services.values() for port in each["ports"]} == hosts
        for each in services.values():
            for volume in each["volumes"]:
                inside = Path(volume["source"])
                if volume["type"] == "bind" and inside.is_relative_to(ROOT) and inside != ROOT / "models":
                    assert inside.exists()
        server = services["ganserve"]
        variables = {**server["environment"], "GANSERVE_HOST": "0.0.0.0"}  # as the image has it
        check_exposure(read_configuration([], variables).config)
        assert server["read_only"] is True
        assert server["cap_drop"] == ["ALL"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_understands_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    unit = DEPLOY / "systemd" / "ganserve.service"
    own = tmp_path / unit.name
    program = str(Path(sys.executable).parent / "ganserve")
    own.write_text(unit.read_text().replace("/opt/ganserve/bin/ganserve", program))
    assert run("systemd-analyze", "verify", own) == ""
    judged = run("systemd-analyze", "security", "--offline=true", "--threshold=20", own)  # 0 is best, 100 worst
    assert "OK" in judged


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool here: Debian's is in `prometheus`")
def test_promtool_finds_the_alerts_right() -> None:
    folder = DEPLOY / "prometheus"
    run("promtool", "check", "rules", folder / "alerts.yml")
    run("promtool", "test", "rules", folder / "alerts_test.yml")
    for file in ("prometheus.yml", "prometheus.secure.yml"):
        run("promtool", "check", "config", "--syntax-only", DEPLOY / "compose" / file)


def test_alerts_use_metrics_that_exist_and_the_page_has_them_all() -> None:
    from ganserve_server.monitoring import metric_definitions

    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    names = {metric.sample_name for metric in metric_definitions.METRICS}
    used = {name for rule in group["rules"] for name in re.findall(r"\bganserve_\w+", rule["expr"])}
    assert used - names == set()
    tested = (DEPLOY / "prometheus" / "alerts_test.yml").read_text()
    page = (DOCS / "operations.md").read_text()
    for rule in group["rules"]:
        assert {"summary", "description"} == set(rule["annotations"])
        assert f'alertname="{rule["alert"]}"' in tested
        assert f"`{rule['alert']}`" in page
