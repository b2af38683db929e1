"""Test the image: a linter, its steps carried out, and a server in it as its user, on a read-only root."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ganserve import Client
from image_steps import Image, instructions, obstacle
from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PATIENCE_S = 120
# The official image python:3.13-slim-trixie is about 120 MiB.
MOST_ADDED_MIB = 210


def test_a_linter_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert hadolint, "the extra dev brings hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_in_the_build_and_the_user_is_not_root() -> None:
    found = instructions(DOCKERFILE.read_text())
    copied = [word for name, rest in found if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]]
    ignore = DOCKERFILE.with_suffix(".dockerignore").read_text().splitlines()
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore
    assert dict(found)["USER"] == "10001:10001"
    assert [name for name, _ in found].count("FROM") == 2


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if reason := obstacle():
        pytest.skip(f"the image's steps cannot be carried out here: {reason}")
    # Layers may not lie within each other, so the image's are on another file system than the machine's root.
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ganserve-image-") as folder:
        Path(folder).chmod(0o755)
        yield Image(DOCKERFILE, ROOT, Path(folder))


@contextlib.contextmanager
def container(image: Image, models: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run the image's entry point: as its user, on a read-only root with an own /tmp, the models mounted read-only."""
    image.stage.environment |= variables
    mounts = f"mount --bind {models} $r/models; mount -o remount,bind,ro $r/models; "
    command = image.stage.command(image.stage.entrypoint, mounts=mounts, read_only=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # installs packages
def test_the_image_is_small_and_serves_on_a_read_only_root(image: Image, tmp_path: Path) -> None:
    sizes = image.added_mib
    print(json.dumps(sizes, indent=1))
    assert sum(sizes.values()) < MOST_ADDED_MIB
    build_tiny_package(tmp_path / "models")
    for folder in (tmp_path, tmp_path / "models"):
        folder.chmod(0o755)
    with container(image, tmp_path / "models") as process:  # by default it refuses to be careless
        assert process.stdout is not None
        printed = process.stdout.read()
        assert process.wait(PATIENCE_S) == 2
    assert "GANSERVE_HOST 0.0.0.0: lets other machines in" in printed
    own = {"GANSERVE_HOST": "127.0.0.1", "GANSERVE_PORT": "0", "GANSERVE_METRICS_PORT": "0"}
    with container(image, tmp_path / "models", **own) as process:
        assert process.stdout is not None
        printed = ""
        while not (serving := re.search(r"serving on (127\.0\.0\.1:\d+)", printed)):
            line = process.stdout.readline()
            assert line, printed
            printed += line
        with Client(serving[1]) as client:
            assert len(client.sample(3)) == 3
        port = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", printed)
        assert port
        image.stage.environment["GANSERVE_METRICS_PORT"] = port[1]
        check = image.stage.command(["python", "/opt/ganserve/healthcheck.py"], read_only=True)
        assert subprocess.run(check, timeout=PATIENCE_S, check=False).returncode == 0
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
    assert process.returncode == 0
    written = image.stage.command(["sh", "-c", "touch /opt/x || touch /models/x || touch /home/x"], read_only=True)
    assert subprocess.run(written, capture_output=True, timeout=PATIENCE_S, check=False).returncode != 0
    check = image.stage.command(["python", "/opt/ganserve/healthcheck.py"], read_only=True)
    assert subprocess.run(check, capture_output=True, timeout=PATIENCE_S, check=False).returncode == 1
