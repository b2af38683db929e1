"""Test the sources of the configuration: flags override the environment, which overrides a file and defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ganserve._command_framework.options import UsageError
from ganserve_server.commands.serve import main
from ganserve_server.settings import ServerConfig
from ganserve_server.settings_sources import read_configuration
from server_process import running_server

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> str:
        path = tmp_path / "serve.toml"
        path.write_text(text)
        return str(path)

    return write


def test_without_sources_all_values_are_defaults() -> None:
    configuration = read_configuration([], {})
    assert configuration.config == ServerConfig()
    assert configuration.sources == {}


def test_flags_override_the_environment_which_overrides_the_file(write: Write) -> None:
    file = write("port = 1\nthreads = 1\nworkers = 1\n")
    environment = {"GANSERVE_PORT": "2", "GANSERVE_THREADS": "2"}
    configuration = read_configuration(["--config", file, "--port", "3"], environment)
    config = configuration.config
    assert (config.port, config.threads, config.workers) == (3, 2, 1)
    assert configuration.sources == {
        "config": "--config",
        "port": "--port",
        "threads": "GANSERVE_THREADS",
        "workers": file,
    }


def test_every_kind_of_value_from_each_source(write: Write) -> None:
    expected = ServerConfig(
        models=Path("/srv/models"),
        provider="cpu",
        metrics_port=0,
        spinning=True,
        max_batch_size=32,
        batch_buckets=(8, 16),
        queue_delay_ms=2.0,
    )
    file = write(
        'models = "/srv/models"\nprovider = "cpu"\nmetrics_port = 0\nspinning = true\n'
        "max_batch_size = 32\nbatch_buckets = [8, 16]\nqueue_delay_ms = 2\n"
    )
    from_file = read_configuration([], {"GANSERVE_CONFIG": file}).config
    assert {**_values(from_file), "config": None} == _values(expected)
    environment = {
        "GANSERVE_MODELS": "/srv/models",
        "GANSERVE_PROVIDER": "cpu",
        "GANSERVE_METRICS_PORT": "0",
        "GANSERVE_SPINNING": "yes",
        "GANSERVE_MAX_BATCH_SIZE": "32",
        "GANSERVE_BATCH_BUCKETS": "8, 16",
        "GANSERVE_QUEUE_DELAY_MS": "2.0",
    }
    assert read_configuration([], environment).config == expected
    flags = (
        "--models /srv/models --provider cpu --metrics-port 0 --spinning --max-batch-size 32 "
        "--batch-buckets 8 16 --queue-delay-ms 2"
    )
    assert read_configuration(flags.split(), {}).config == expected


def _values(config: ServerConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in ServerConfig.__dataclass_fields__}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_sise = 3", r"serve\.toml: max_batch_sise: no such option\. Did you mean max_batch_size\?$"),
        ("zzz = 3", r"serve\.toml: zzz: no such option\. `ganserve serve --help` lists them\.$"),
        ("[server]\nport = 3", r"serve\.toml: server: no such option\."),
        ('config = "other.toml"', r"serve\.toml: config: names a further file\. Leave it out\.$"),
        ("help = 1", r"serve\.toml: help: no such option\."),
        ('port = "x"', r"serve\.toml: port x: not a whole number\. Give one, such as 1\."),
        ("port = true", r"port True: not a whole number"),
        ("port = 1.5", r"port 1\.5: not a whole number"),
        ("drain_timeout_s = true", r"drain_timeout_s True: not a number\. Give one, such as 0\.5\."),
        ("spinning = 2", r"spinning 2: not a choice\. Give one of true, false\."),
        ('processes = "two"', r"processes two: neither a whole number nor auto\. Give one, such as 1\.$"),
        ("processes = 2.5", r"processes 2\.5: neither a whole number nor auto\. Give one, such as 1\.$"),
        ("processes = [2]", r"processes \[2\]: neither a whole number nor auto\."),
        ("processes = 0", r"processes 0: must be auto, or 1 to 256\."),
        ('provider = "tpu"', r"provider tpu: not a choice\. Give one of auto, cuda, tensorrt, openvino, cpu\."),
        ('models = ""', r"serve\.toml: models '': not a path\."),
        ("batch_buckets = [1.5]", r"batch_buckets 1\.5: not a whole number"),
        ("port = ", r"--config .*serve\.toml: is not TOML: Invalid value .*\. Correct the file\.$"),
        ("bfloat16 = true", r"serve\.toml: bfloat16: needs OpenVINO\. Add --provider openvino\.$"),
        ('provider = "openvino"\nbatch_buckets = [8, 16]', r"batch_buckets 8 16: OpenVINO runs calls of any size\."),
        *(
            (
                f'provider = "{provider}"\n{line}',
                rf"serve\.toml: {re.escape(said)}: has no effect with provider {provider}\.",
            )
            for provider in ("cpu", "openvino")
            for line, said in (
                ("devices = [0, 1]", "devices 0 1"),
                ('cuda_graphs = "on"', "cuda_graphs on"),
                ('conv_search = "heuristic"', "conv_search heuristic"),
                ('conv_layout = "nhwc"', "conv_layout nhwc"),
                ("tf32 = true", "tf32"),
                ("gpu_memory_limit_mib = 100", "gpu_memory_limit_mib 100"),
            )
        ),
        (
            'provider = "openvino"\nspinning = true',
            r"spinning: has no effect with provider openvino\. Leave it out\.$",
        ),
        ('metrics_host = "::1"', r"metrics_host ::1: needs --metrics-port\. Give both, or neither\.$"),
        (
            "open_health = false",
            r"^--no-open-health: everybody may call this server\. Add --identities or --tls-client-ca\.$",
        ),
        ("max_connection_age_grace_s = 5", r"max_connection_age_grace_s 5: needs --max-connection-age-s\."),
        ("port = 70000", r"serve\.toml: port 70000: must be 0 to 65535\. 0 picks a free one\.$"),
    ],
)
def test_bad_files_are_refused_with_a_message(write: Write, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_configuration(["--config", write(text)], {})


def test_settings_for_gpus_can_be_left_behind() -> None:
    for_gpus = ServerConfig(devices=(0, 1), cuda_graphs="on", tf32=True, workers=3)
    assert for_gpus.on_cpu() == ServerConfig(provider="cpu", workers=3)
    assert ServerConfig(provider="cpu", cuda_graphs="off")  # they are


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"GANSERVE_PROT": "3"}, r"^GANSERVE_PROT: no such option\. Did you mean GANSERVE_PORT\?$"),
        ({"GANSERVE_PORT": "many"}, r"GANSERVE_PORT many: not a whole number\. Give one, such as 1\."),
        ({"GANSERVE_SPINNING": "maybe"}, r"GANSERVE_SPINNING maybe: not a choice"),
        ({"GANSERVE_LOG_LEVEL": "loud"}, r"GANSERVE_LOG_LEVEL loud: not a choice\. Give one of debug, info, "),
        ({"GANSERVE_BATCH_BUCKETS": "1,x"}, r"GANSERVE_BATCH_BUCKETS x: not a whole number"),
        ({"GANSERVE_PORT": "70000"}, r"^GANSERVE_PORT 70000: must be 0 to 65535\. 0 picks a free one\.$"),
        (
            {"GANSERVE_CONFIG": "/nowhere.toml"},
            r"^GANSERVE_CONFIG /nowhere\.toml: cannot be read: No such .*\. Name a readable file\.$",
        ),
    ],
)
def test_bad_environments_are_refused_with_a_message(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_configuration([], environment)


def test_variables_of_kubernetes_are_ignored() -> None:
    environment = {
        "GANSERVE_TARGET": "gpu-box:6000",
        "GANSERVE_TRAIN_SUPERVISOR": "1",
        "GANSERVE_HOST": "",
        # Kubernetes sets these for services named ganserve and ganserve-blue.
        "GANSERVE_PORT": "tcp://10.0.0.1:50051",
        "GANSERVE_SERVICE_HOST": "10.0.0.1",
        "GANSERVE_SERVICE_PORT": "50051",
        "GANSERVE_SERVICE_PORT_GRPC": "50051",
        "GANSERVE_PORT_50051_TCP": "tcp://10.0.0.1:50051",
        "GANSERVE_PORT_50051_TCP_ADDR": "10.0.0.1",
        "GANSERVE_BLUE_SERVICE_HOST": "10.0.0.2",
        "GANSERVE_BLUE_PORT": "tcp://10.0.0.2:50051",
        "PATH": "/bin",
    }
    assert read_configuration([], environment).config == ServerConfig()


def test_values_of_several_sources_are_checked_together(write: Write) -> None:
    file = write("max_queued_samples = 32")
    for arguments, environment, least in (
        ([], {}, "--max-batch-size, which is 64"),
        (["--max-batch-size", "33"], {}, "--max-batch-size, which is 33"),
        ([], {"GANSERVE_MAX_BATCH_SIZE": "33"}, "GANSERVE_MAX_BATCH_SIZE, which is 33"),
    ):
        with pytest.raises(UsageError) as caught:
            read_configuration(["--config", file, *arguments], environment)
        assert str(caught.value) == f"{file}: max_queued_samples 32: must be at least {least}."
    both = write("max_queued_samples = 32\nmax_batch_size = 33")
    with pytest.raises(UsageError, match=r": must be at least max_batch_size, which is 33\.$"):
        read_configuration(["--config", both], {})
    write("max_queued_samples = 32")
    assert read_configuration([f"--config={file}", "--max-batch-size", "8"], {}).config.max_queued_samples == 32


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_bytes(b"\xef\xbb\xbfport = 7\n")
    assert read_configuration(["--config", str(tmp_path / "serve.toml")], {}).config.port == 7


def test_help_needs_no_sources(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GANSERVE_CONFIG", "/nowhere.toml")
    monkeypatch.setenv("GANSERVE_PROT", "1")
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in ServerConfig.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text


def test_a_server_prints_its_values_with_their_sources(repository: Path, write: Write) -> None:
    file = write("threads = 1\nmax_batch_size = 16\n")
    with running_server(
        repository, "--provider", "cpu", environment={"GANSERVE_CONFIG": file, "GANSERVE_WORKERS": "2"}
    ) as server:
        assert f"config   max_batch_size = 16 ({file})\n" in server.log
        assert "config   workers = 2 (GANSERVE_WORKERS)\n" in server.log
        assert "config   provider = cpu (--provider)\n" in server.log
        defaults = next(line for line in server.log.splitlines() if line.startswith("default  "))
        assert "host = 127.0.0.1, " in defaults
        assert "max_batch_size" not in defaults
        assert "calls    2 at a time, 1 CPU thread each, at most 16 samples\n" in server.log
