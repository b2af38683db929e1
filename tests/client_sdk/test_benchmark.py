"""Test that the benchmark of the SDK runs, whatever its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

OVERHEAD = Path(__file__).parents[2] / "benchmarks" / "client" / "overhead.py"


@pytest.mark.slow
def test_the_overhead_is_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    flags = ["--rounds", "1", "--seconds", "0.05", "--imports", "1", "--json", str(figures)]
    done = subprocess.run(
        [sys.executable, str(OVERHEAD), *flags], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| nothing | 64 |" in done.stdout
    report = json.loads(figures.read_text())
    assert [(case["model"], case["n"]) for case in report["latencies"]] == [
        ("nothing", 1),
        ("nothing", 64),
        ("g32", 1),
        ("g32", 64),
    ]
    for case in report["latencies"]:
        assert case["ratio"]["stub"] == 1
        assert min(case["ms"].values()) > 0
    assert report["imports"]["import ganserve"]["mib"] < report["imports"]["import grpc, numpy"]["mib"]
