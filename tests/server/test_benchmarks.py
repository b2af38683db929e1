"""The benchmarks run; what they measure is nothing for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tiny_packages import build_tiny_package

OVERHEAD = Path(__file__).parents[2] / "benchmarks" / "serving" / "overhead.py"


def test_the_overhead_is_measured_for_any_package(tmp_path: Path) -> None:
    package = build_tiny_package(tmp_path)
    figures = tmp_path / "figures.json"
    flags = ["--trials", "1", "--rounds", "1", "--seconds", "0.1", "--package", str(package), "--json", str(figures)]
    result = subprocess.run(
        [sys.executable, str(OVERHEAD), *flags], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "### tiny" in result.stdout
    measured = json.loads(figures.read_text())["models"]["tiny"]
    assert all(rate > 0 for rate in measured["samples_per_s"].values())
    assert measured["best_bare"] in measured["ratios"]
