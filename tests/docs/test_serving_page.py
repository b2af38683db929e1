"""Test the commands, the configuration file and the alarms' metrics of docs/serving.md with real servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from documents import DOCS, Reader, blocks, the_block
from ganserve import Client
from ganserve.testing import TinyModel, build_package
from ganserve_server.settings_sources import read_configuration
from server_process import running_server

PAGE = DOCS / "serving.md"
TEXT = PAGE.read_text(encoding="utf-8")
CONFIGURE = the_block("sh", "--config ganserve.toml")
(WITHDRAW,) = (block for block in blocks(PAGE, "sh") if block.code.startswith("mv "))
(TOML,) = blocks(PAGE, "toml")
(ADMIN,) = blocks(PAGE, "python")
PATIENCE_S = 60


def test_a_version_is_rolled_back_and_alarms_have_their_metrics(tmp_path: Path) -> None:
    models = tmp_path / "models"
    build_package(models)
    build_package(models, TinyModel(version=2))
    broken = build_package(models, TinyModel(version=3))
    (broken / "manifest.json").write_text("{")
    with running_server(models, "--metrics-port", "0") as server, Client(server.address) as client:
        with urllib.request.urlopen(f"{server.metrics_url}/metrics") as answer:
            metrics = answer.read().decode()
        named = set(re.findall(r"ganserve_\w+", TEXT))
        assert len(named) > 10
        assert named - set(re.findall(r"ganserve_\w+", metrics)) == set()
        assert re.search(
            r'^ganserve_model_info\{[^}]*state="failed"[^}]*version="3"[^}]*\} 1\.0$', metrics, re.MULTILINE
        )
        assert re.search(r"^ganserve_ready 1\.0$", metrics, re.MULTILINE)

        assert client.model("digits").version == 2
        subprocess.run(["bash", "-euc", WITHDRAW.code], cwd=tmp_path, check=True)
        deadline = time.monotonic() + PATIENCE_S
        while client.model("digits").version != 1:
            assert time.monotonic() < deadline, server.log
            time.sleep(0.05)
        assert client.sample(2, "7").version == 1
        assert Reader(tmp_path, server.address).do(ADMIN) == "digits 1\n"


def test_the_configuration_file_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "ganserve.toml"
    file.write_text(TOML.code)
    config = read_configuration(["--config", str(file), "--max-batch-size", "32"], {}).config
    assert (config.models, config.host, config.metrics_port) == (Path("/srv/models"), "0.0.0.0", 9464)
    assert (config.max_batch_size, config.log_format) == (32, "json")


def test_each_way_to_configure(tmp_path: Path) -> None:
    """Run the commands; only the folder and the addresses are replaced."""
    build_package(tmp_path / "models")
    file = TOML.code
    for line, mine in {
        'models = "/srv/models"': 'models = "models"',
        'host = "0.0.0.0"': 'host = "127.0.0.1"\nport = 0',
        'tls_certificate = "/etc/ganserve/server.pem"\n': "",
        'tls_key = "/etc/ganserve/server.key"\n': "",
        'identities = "/etc/ganserve/identities.toml"\n': "",
        "metrics_port = 9464": "metrics_port = 0",
    }.items():
        assert line in file
        file = file.replace(line, mine)
    (tmp_path / "ganserve.toml").write_text(file)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    sources = []
    for command in CONFIGURE.code.splitlines():
        # `env` replaces itself by the server, so that the signal reaches it.
        with subprocess.Popen(
            ["bash", "-c", f"exec env {command}"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            printed = ""
            try:
                assert process.stdout is not None
                while "serving on 127.0.0.1:" not in printed:
                    line = process.stdout.readline()
                    assert line, f"the server ended:\n{printed}"
                    printed += line
            finally:
                process.terminate()
        assert process.returncode == 0
        sources += re.findall(r"max_batch_size = 32 \(([^)]+)\)", printed)
        assert "at most 32 samples" in printed
    assert sources == ["--max-batch-size", "GANSERVE_MAX_BATCH_SIZE"]
