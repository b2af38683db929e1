"""Test docs/security.md: its four steps and its other clients as they stand, and its file of identities."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from documents import DOCS, TARGET, blocks
from ganserve_server.identity.settings_file import read_identities
from server_process import ServerProcess

BLOCKS = {block.name: block for block in blocks(DOCS / "security.md") if block.name}
STEPS = sorted({name.rpartition("-")[0] for name in BLOCKS if name.startswith("step-")})
PORTS = {"--metrics-port 9464": "--metrics-port 0", "127.0.0.1:50052": "127.0.0.1:0"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(code: str) -> None:
    done = subprocess.run(
        ["bash", "-euc", code], capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"


def server(command: str) -> ServerProcess:
    """Start the page's server on free ports."""
    for port, free in PORTS.items():
        command = command.replace(port, free)
    words = command.replace("\\\n", " ").split()
    assert words[:2] == ["ganserve", "serve"]
    return ServerProcess(None, *words[2:])


@pytest.mark.slow
def test_the_four_steps_work(folder: Path) -> None:
    assert [f"step-{number}" for number in (1, 2, 3, 4)] == STEPS
    for step in STEPS:
        if f"{step}-prepare" in BLOCKS:
            run(BLOCKS[f"{step}-prepare"].code)
        process = server(BLOCKS[f"{step}-server"].code)
        try:
            process.wait_until_serving()
            port = process.address.rpartition(":")[2]
            code = BLOCKS[f"{step}-client"].code
            assert TARGET in code
            run(code.replace(TARGET, f"localhost:{port}"))
        finally:
            process.stop()
    token = (folder / "app.token").read_text().strip()
    assert re.fullmatch(r"gsv_[\w-]{43}", token)


@pytest.mark.slow
def test_other_clients_work(folder: Path) -> None:
    for step in (2, 3):
        run(BLOCKS[f"step-{step}-prepare"].code)
    process = server(BLOCKS["step-3-server"].code)
    missing = set() if shutil.which("grpcurl") else {"other-grpcurl"}
    missing |= set() if find_spec("kserve") else {"other-kserve"}  # it wants other versions of much
    try:
        process.wait_until_serving()
        for name, block in BLOCKS.items():
            if not name.startswith("other-") or name in missing:
                continue
            code = block.code.replace(TARGET, f"localhost:{process.address.rpartition(':')[2]}")
            run(f"python - <<'END'\n{code}\nEND" if block.language == "python" else code)
    finally:
        process.stop()


def test_the_file_of_identities_is_right(tmp_path: Path) -> None:
    file = tmp_path / "identities.toml"
    file.write_text(BLOCKS["identities.toml"].code)
    identities = read_identities(file)
    assert len(identities.tokens) == len(identities.issuers) == len(identities.certificates) == 1
    assert identities.quotas.callers["app"].samples_per_s == 500
