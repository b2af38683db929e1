"""Test that no command looks up a name, talks to another machine, or writes outside the folders it is given.

onnxruntime's telemetry does all three, unless `CI` is set, so `CI` is not set here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import torch

from foreign_styles import rosinality_critic, rosinality_generator
from ganserve._commands import commands as ganserve_commands
from isolated import obstacle, run_isolated
from tiny_packages import build_tiny_package
from tiny_runs import TINY_FLAGS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=f"no namespaces here: {obstacle()}")

EVERYWHERE = {
    *("serve", "models", "sample", "score", "verify", "bench", "doctor", "completion", "ui"),
    *("train", "export-onnx", "evaluate", "report", "package", "import", "generate", "score-bulk", "token"),
}
"""The commands that these tests run."""

# Commands that use a server begin with one: the network of their namespace is empty.
_WITH_SERVER = """
set -e
trap 'kill $(jobs -p)' EXIT  # else a server left behind keeps the streams open
"$0" -m ganserve serve --models models --port 50051 {flags} > served &
server=$!
until grep --quiet "^serving on" served; do sleep 0.1; kill -0 $!; done
{commands}
kill $server
wait $server
trap - EXIT
"""
# The page ends with SIGTERM.
_PAGE = """
"$0" -m ganserve ui --port 7860 > page &
page=$!
until grep --quiet "is at" page; do sleep 0.1; kill -0 $page; done
"$0" -c "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:7860').status)"
kill $page
wait $page
"""


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    places = {name: tmp_path / name for name in ("home", "temporary", "work")}
    for place in places.values():
        place.mkdir()
    return places


def assert_silent(command: list[str], places: dict[str, Path]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "GITHUB", "XDG_"))}
    environment |= {"HOME": str(places["home"]), "TMPDIR": str(places["temporary"]), "PYTHONDONTWRITEBYTECODE": "1"}
    code, packets, printed = run_isolated(command, places["work"], environment)
    assert code == 0, printed
    assert packets == []
    assert sorted(places["home"].rglob("*")) == []


def test_the_test_sees_lookups_connections_and_files(places: dict[str, Path]) -> None:
    program = (
        "import socket, pathlib, contextlib\n"
        "pathlib.Path.home().joinpath('left').touch()\n"
        "with contextlib.suppress(OSError): socket.getaddrinfo('example.org', 80)\n"
        "with contextlib.suppress(OSError): socket.create_connection(('192.0.2.7', 443), timeout=0.2)\n"
    )
    environment = os.environ | {"HOME": str(places["home"])}
    code, packets, _ = run_isolated([sys.executable, "-c", program], places["work"], environment)
    assert code == 0
    assert "10.77.0.1:53 example.org" in packets
    assert "192.0.2.7:443" in packets
    assert [path.name for path in places["home"].iterdir()] == ["left"]


def test_onnxruntime_is_silent_wherever_we_load_it() -> None:
    for module in ("ganserve_server", "ganserve_export"):
        program = f"import sys, os, {module}; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
        environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        said = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert said.stdout == "1 False\n"


def test_no_command_is_left_out() -> None:
    assert set(ganserve_commands()) == EVERYWHERE


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["", "--processes 2"])
def test_serving_and_calling_are_silent(places: dict[str, Path], flags: str) -> None:
    build_tiny_package(places["work"] / "models")
    commands = "\n".join(
        f'"$0" -m ganserve {command}'
        for command in (
            "models",
            "sample --count 4 --label 1 --out samples.png",
            "score samples.png --label 1",
            "verify samples.png",
            "bench --duration-s 1 --concurrency 2",
            "doctor || true",
            "completion bash",
        )
    )
    assert_silent(["bash", "-c", _WITH_SERVER.format(commands=commands, flags=flags), sys.executable], places)
    assert sorted(path.name for path in places["work"].iterdir()) == ["models", "samples.png", "served"]
    assert list(places["temporary"].iterdir()) == []


@pytest.mark.skipif(find_spec("openvino") is None, reason="the extra openvino is not installed")
def test_openvino_is_silent(places: dict[str, Path]) -> None:
    build_tiny_package(places["work"] / "models")
    commands = '"$0" -m ganserve sample --count 4 --label 1 --out samples.png'
    served = _WITH_SERVER.format(commands=commands, flags="--provider openvino")
    assert_silent(["bash", "-c", served, sys.executable], places)
    assert list(places["temporary"].iterdir()) == []


@pytest.mark.slow
def test_bulk_jobs_and_tokens_are_silent(places: dict[str, Path]) -> None:
    build_tiny_package(places["work"] / "models")
    ganserve = (sys.executable, "-m", "ganserve")
    for command in (
        ("generate", "--count", "8", "--out", "samples"),
        ("score-bulk", "samples", "--out", "scores"),
        ("token", "new", "app", "--role", "sample"),
        ("token", "list"),
        ("token", "revoke", "app"),
    ):
        assert_silent([*ganserve, *command], places)
    assert sorted(path.name for path in places["work"].iterdir()) == ["identities.toml", "models", "samples", "scores"]
    assert list(places["temporary"].iterdir()) == []


def test_a_local_client_is_silent(places: dict[str, Path]) -> None:
    build_tiny_package(places["work"] / "models")
    program = "from ganserve import Client\nwith Client.local('models') as client: print(client.sample(2))"
    assert_silent([sys.executable, "-c", program], places)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # six commands, most of which import torch
def test_training_and_export_are_silent(places: dict[str, Path]) -> None:
    ganserve = (sys.executable, "-m", "ganserve")
    train = ("train", "digits", "--out", "runs/digits", "--steps", "6", *TINY_FLAGS)
    foreign = (
        "package",
        "models/digits/1/generator.onnx",
        "--out",
        "models/foreign",
        "--labels",
        "0,1,2,3,4,5,6,7,8,9",
    )
    checkpoint = {"g_ema": rosinality_generator(16, (8, 8, 4)), "d": rosinality_critic(16, (8, 8, 4))}
    torch.save({**checkpoint, "g": checkpoint["g_ema"]}, places["work"] / "weights.pt")
    for command in (
        train,
        ("export-onnx", "runs/digits", "--out", "models/digits"),
        ("evaluate", "runs/digits", "--samples", "50"),
        ("evaluate", "models/digits", "--samples", "50"),
        ("report", "runs/digits"),
        foreign,
        ("import", "weights.pt", "--out", "models/imported"),
    ):
        assert_silent([*ganserve, *command], places)
    assert sorted(path.name for path in places["work"].iterdir()) == ["models", "runs", "weights.pt"]


@pytest.mark.slow
def test_the_page_is_silent(places: dict[str, Path]) -> None:
    build_tiny_package(places["work"] / "models")
    assert_silent(["bash", "-c", _WITH_SERVER.format(commands=_PAGE, flags=""), sys.executable], places)
