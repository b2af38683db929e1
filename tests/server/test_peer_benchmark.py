"""Test the harness that compares the server with other model servers, without those servers."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVING = Path(__file__).parents[2] / "benchmarks" / "serving"
PEERS = SERVING / "peers"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the harness reads /proc")


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the modules of the harness importable, and forget them afterwards: other benchmarks use the same names."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(SERVING))
    monkeypatch.syspath_prepend(str(PEERS))
    for name in ("client", "common", "packages", "overhead"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SERVING)):
            del sys.modules[name]


def test_each_peer_has_pinned_versions_and_a_server(harness: None) -> None:
    import catalogue
    import protocols

    engine = next(
        line
        for line in (SERVING.parents[1] / "constraints.txt").read_text().splitlines()
        if line.startswith("onnxruntime==")
    )
    for peer in catalogue.PEERS:
        lines = [line for line in peer.requirements.read_text().splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), peer.title
        assert engine in lines, peer.title
        compile(peer.script.read_text(), peer.script, "exec")
        assert peer.protocol in protocols.PROTOCOLS
    assert {path.stem for path in (PEERS / "requirements").iterdir()} == set(catalogue.NAMES)
    assert {path.stem for path in (PEERS / "servers").glob("*_server.py")} == {
        f"{name}_server" for name in catalogue.NAMES
    }


def test_a_peer_without_these_versions_says_how_to_get_them(
    harness: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import environments
    import trials

    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    stamp = tmp_path / "kserve" / "requirements.txt"
    stamp.parent.mkdir()
    stamp.write_text("kserve==0.1\n")
    servers, unfit = trials.chosen(["ganserve", "kserve", "ray"], ["", "--workers 1"])
    assert [server.title for server in servers] == ["ganserve", "ganserve --workers 1"]
    assert unfit["Ray Serve"].endswith("it has no environment. Make it: python benchmarks/serving/peers --prepare ray")
    assert "other versions" in unfit["KServe"]
    stamp.write_bytes((PEERS / "requirements" / "kserve.txt").read_bytes())
    assert [server.title for server in trials.chosen(["kserve"], [])[0]] == ["KServe"]


def test_other_pythons_are_refused(harness: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import environments
    from catalogue import Peer

    own = Peer(title="KServe", protocol="open inference")
    monkeypatch.setattr(environments.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(environments.sys, "version_info", (3, 13, 0))
    with pytest.raises(environments.UnfitError, match=r"pinned for Python 3\.11"):
        environments.interpreter(own)
    with pytest.raises(environments.UnfitError, match=r"libpython: /usr/bin/none\. Install it"):
        environments.interpreter(Peer(title="Triton", protocol="open inference", python="/usr/bin/none"))
    monkeypatch.setattr(environments.platform, "machine", lambda: "aarch64")
    with pytest.raises(environments.UnfitError, match="aarch64"):
        environments.interpreter(own)


def test_rows_of_split_requests_give_the_samples_of_whole_ones(harness: None, tmp_path: Path) -> None:
    from packages import write_generator_package
    from servers.generator import Generator

    generator = Generator(str(write_generator_package(tmp_path, "tiny") / "generator.onnx"))
    first, second = generator.samples([(3, 4, 7), (70, 1, 8)])
    assert (first.shape, second.shape) == ((3, 8, 8, 1), (70, 8, 8, 1))
    rows = np.array([(7, 4, index) for index in range(3)] + [(8, 1, index) for index in range(70)])
    np.testing.assert_array_equal(generator.samples_of_rows(rows), np.concatenate([first, second]))
    np.testing.assert_array_equal(generator.samples_of_rows(rows[1:10]), np.concatenate([first[1:], second[:7]]))


def test_a_failed_peer_is_a_row_with_its_reason(harness: None) -> None:
    import tables

    load = {"per_s": 10.0, "p50_ms": 1.0, "p99_ms": 2.0, "server_cpu_ms": 3.0, "client_cpu_ms": 4.0}
    trial = {"start_s": 1.25, "memory_mib": 100.0, "processes": 2, "idle_cores": 0.0, "loads": {"64x4": load}}
    report = {
        "cores": {"server": [0], "client": [1]},
        "loads": {"g32": ["64x4"]},
        "rounds": 1,
        "trials": {"ganserve": {"g32": [trial, {**trial, "start_s": 1.75}]}},
        "failures": {"KServe": "failed: no answer"},
    }
    lines = tables.tables(report).splitlines()
    assert "| ganserve | 640 | 3.00 | 100 in 2, 0.00 | 1.5 |" in lines
    assert "| KServe | - | - | - | - |" in lines
    assert "- KServe: failed: no answer" in lines
    assert "| g32 n=64 C=4 | ganserve | 10 | 1.00 | 1.00 / 2.00 | 3.00 | 4.00 |" in lines


def test_the_help_names_what_cannot_be_installed() -> None:
    command = [sys.executable, str(PEERS), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "\nOpenVINO Model Server: not measured: neither PyPI nor Debian has a package of it" in result.stdout


def test_no_process_of_a_server_survives_or_goes_uncounted(tmp_path: Path) -> None:
    orphan = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while time.process_time() < 0.05:
    pass
print(1, flush=True)
time.sleep(600)
"""
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {orphan!r}], start_new_session=True)"
    code = f"""
import os, sys, time
from pathlib import Path
sys.path.insert(0, {str(PEERS)!r})
import process_tree
process_tree.adopt_orphans()
process_tree._GRACE_S = 1
log = Path({str(tmp_path / "log")!r})
cores = sorted(os.sched_getaffinity(0))
with process_tree.running([sys.executable, "-c", {parent!r}], log.parent, log, os.environ, cores[:1]) as process:
    assert process.wait() == 0
    while not log.read_text():
        time.sleep(0.01)
    (orphan,) = process_tree.descendants()
    assert os.sched_getaffinity(orphan) == set(cores[:1])
    assert sorted(os.sched_getaffinity(0)) == cores
    assert process_tree.cpu_seconds() > 0
    mib, count = process_tree.memory_mib()
    assert (count, mib > 1) == (1, True)
assert process_tree.descendants() == []
assert not Path(f"/proc/{{orphan}}").exists()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def command(*flags: str) -> list[str]:
    return [sys.executable, str(PEERS), "--seconds", "0.1", "--loads", "tiny:2x2", *flags]


def measured(done: subprocess.CompletedProcess[str], report: Path, title: str) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(report.read_text())["trials"][title]["tiny"][0]
    return figures


def test_our_server_goes_through_the_harness(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    flags = ["--peers", "ganserve", "--rounds", "1", "--json", str(report)]
    done = subprocess.run(command(*flags), capture_output=True, text=True, timeout=240, check=False)
    figures = measured(done, report, "ganserve")
    assert figures["start_s"] > 0
    assert figures["memory_mib"] > 10
    load = figures["loads"]["2x2"]
    assert load["samples"] == 2 * load["requests"] > 0
    assert load["client_cpu_ms"] > 0
    assert "\n| tiny n=2 C=2 | ganserve | " in done.stdout


@pytest.mark.slow
def test_the_sketch_is_checked_against_the_harness_own_samples(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    flags = ["--peers", "sketch", "--rounds", "1", "--json", str(report)]
    done = subprocess.run(command(*flags), capture_output=True, text=True, timeout=240, check=False)
    assert measured(done, report, "sketch")["loads"]["2x2"]["samples"] > 0


@pytest.mark.slow
def test_an_interrupted_run_prints_what_it_has() -> None:
    run = subprocess.Popen(
        command("--peers", "sketch", "--rounds", "1000"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stderr
    assert any(line.startswith("round 2:") for line in run.stderr)
    run.send_signal(signal.SIGTERM)
    printed, _ = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "Whole rounds: 1." in printed
    assert "\n| tiny n=2 C=2 | sketch | " in printed
