"""The benchmarks run; what they measure is nothing for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiny_packages import build_tiny_package

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "serving"


def measured(name: str, json_file: Path, *flags: str) -> tuple[dict[str, Any], str]:
    """What a benchmark writes as JSON, and what it prints."""
    command = [sys.executable, str(BENCHMARKS / name), *flags, "--json", str(json_file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(json_file.read_text()), result.stdout


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
        ("fairness.py", ["--rounds", "1", "--samples", "500"]),
        ("overload.py", ["--seconds", "1"]),
        ("reload.py", ["--swaps", "3"]),
        ("bad_input.py", ["--requests", "300"]),
    ],
)
def test_each_question_is_answered(name: str, flags: list[str], tmp_path: Path) -> None:
    figures, printed = measured(name, tmp_path / "figures.json", *flags)
    assert figures
    assert printed
