"""Test that the benchmarks of serving run, whatever their figures."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tiny_packages import build_tiny_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "serving"


def measured(name: str, json_file: Path, *flags: str) -> tuple[dict[str, Any], str]:
    """Run a benchmark; return its JSON and its output."""
    command = [sys.executable, str(BENCHMARKS / name), *flags, "--json", str(json_file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(json_file.read_text()), result.stdout


@pytest.mark.slow
def test_the_overhead_is_measured_for_any_package(tmp_path: Path) -> None:
    flags = ["--trials", "1", "--rounds", "1", "--seconds", "0.1", "--package", str(build_tiny_package(tmp_path))]
    figures, printed = measured("overhead.py", tmp_path / "figures.json", *flags)
    assert "### tiny" in printed
    tiny = figures["models"]["tiny"]
    assert all(rate > 0 for rate in tiny["samples_per_s"].values())
    assert tiny["best_bare"] in tiny["ratios"]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        pytest.param("fairness.py", ["--rounds", "1", "--samples", "500"], marks=pytest.mark.slow),
        pytest.param("overload.py", ["--rounds", "1", "--seconds", "1"], marks=pytest.mark.slow),
        pytest.param("bulk.py", ["--model", "tiny", "--samples", "128", "--trials", "1"], marks=pytest.mark.slow),
        pytest.param("processes.py", ["--rounds", "1", "--seconds", "0.2"], marks=pytest.mark.slow),
        pytest.param("lone_path.py", ["--rounds", "1", "--calls", "5"], marks=pytest.mark.slow),
        ("reload.py", ["--swaps", "3"]),
        ("bad_input.py", ["--requests", "300"]),
    ],
)
def test_each_question_is_answered(name: str, flags: list[str], tmp_path: Path) -> None:
    figures, printed = measured(name, tmp_path / "figures.json", *flags)
    assert figures
    assert printed


def test_a_variant_that_cannot_start_is_named_and_the_others_are_measured(tmp_path: Path) -> None:
    words = ["--flags", "", "--flags=--nosuch", "--flags=--quota", "--model", "tiny", "--loads", "4x2"]
    json_file = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARKS / "variants.py"), *words, "--rounds", "1", "--seconds", "0.1"]
    result = subprocess.run(
        [*command, "--json", str(json_file)], capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 1
    figures = json.loads(json_file.read_text())
    assert [*figures["rounds"]["4x2"]] == [""]
    assert figures["failures"].keys() == {"--nosuch", "--quota"}
    reason = "--nosuch: ganserve serve: error: --nosuch: no such option."
    assert reason in result.stdout
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_a_load_that_is_none_is_refused_before_servers_start() -> None:
    command = [sys.executable, str(BENCHMARKS / "variants.py"), "--flags", "", "--loads", "64"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 2
    assert result.stderr.endswith("argument --loads: 64: is not NxC, such as 64x4\n")


@pytest.fixture
def own_cost() -> Iterator[ModuleType]:
    """Import the benchmark, and remove its helper modules afterwards: other benchmarks use the same names."""
    names = ("own_cost", "client", "overhead", "packages", "common")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        for name in names:  # modules of other benchmarks
            patch.delitem(sys.modules, name, raising=False)
        importlib.import_module("client")
        yield importlib.import_module("own_cost")
        for name in names:
            sys.modules.pop(name)


def test_own_cost_is_measured(
    own_cost: ModuleType,
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = sys.modules["client"]

    @contextlib.contextmanager
    def running(models: Path, flags: list[str]) -> Iterator[tuple[Any, str]]:
        assert (flags, {package.name for package in models.iterdir()}) == (["--workers", "1"], {"tiny", "g32"})
        yield SimpleNamespace(pid=os.getpid()), server  # which also has a model "tiny"

    def load(*arguments: Any) -> dict[str, float]:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            asyncio.run(client.main(*arguments))
        measured: dict[str, float] = json.loads(printed.getvalue())
        return measured

    json_file = tmp_path / "figures.json"
    flags = ["--rounds", "1", "--seconds", "0.02", "--serve-flags", "--workers 1", "--json", str(json_file)]
    monkeypatch.setattr(sys, "argv", ["own_cost.py", *flags])
    monkeypatch.setattr(own_cost, "LOADS", {"tiny": [(1, 2)], "g32": []})
    monkeypatch.setattr(own_cost, "server", running)
    monkeypatch.setattr(own_cost, "load", load)
    own_cost.main()
    rates = json.loads(json_file.read_text())["rates"]
    assert set(rates) == {"bare g32", *(f"{server}tiny n=1 C=2" for server in ("", "echo ", "sketch "))}
    assert all(len(rounds) == 1 and rounds[0] > 0 for rounds in rates.values())
    assert "\n| tiny n=1 C=2 | " in capsys.readouterr().out


@pytest.mark.slow
def test_hostile_sizes_are_answered(tmp_path: Path) -> None:
    figures, printed = measured("hostile_sizes.py", tmp_path / "figures.json", "--requests", "200")
    assert figures["unexpected"] == []
    assert sum(figures["answers"].values()) == 200
    assert figures["loop"]["cpu_ms"] > 0
    assert "200 requests to 31 RPCs" in printed


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="calls from 127.0.0.2")
def test_a_server_under_attack_answers_a_good_client(tmp_path: Path) -> None:
    figures, printed = measured("memory_attack.py", tmp_path / "figures.json", "--seconds", "1")
    assert set(figures["rounds"]) >= {"quiet", "unread_answers", "half_uploads", "many_connections"}
    assert all(seen["failed"] == 0 for seen in figures["rounds"].values())
    assert "| many_labels |" in printed


@pytest.mark.slow
def test_restarts_behind_a_balancer_fail_no_call(tmp_path: Path) -> None:
    figures, printed = measured("restarts.py", tmp_path / "figures.json", "--restarts", "2")
    assert figures["failed"] == 0, printed
    assert figures["servers_that_sent_goaway"] == 2
    assert set(figures["answered"]) == {"SDK", "SDK stream", "gRPC", "gRPC stream"}
    assert min(figures["answered"].values()) > 0


@pytest.mark.slow
def test_the_cost_of_marks_is_measured(tmp_path: Path) -> None:
    figures, printed = measured("marking.py", tmp_path / "figures.json", "--count", "2", "--rounds", "1")
    assert "| 32x32 gray | PNG | marked |" in printed
    for found in figures.values():
        assert 500 < found["marked"][1] - found["bare"][1] < 1500
