"""Test that the benchmark of selection runs, whatever its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "selection" / "run.py"


@pytest.mark.slow
def test_selection_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    flags = ["--steps", "2", "--critic-steps", "2", "--seeds", "5", "--samples", "60", "--out", str(out)]
    result = subprocess.run(
        [sys.executable, str(RUN), *flags], capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    trials = {trial["row"]: trial for trial in json.loads(out.read_text())["trials"]}
    assert result.stdout.count("\n| ") == len(trials) == 10
    assert trials["none"]["proposals"] == 1
    assert trials["best of 8"]["proposals"] == 8
    assert 4 <= trials["rejection, at most 64"]["proposals"] <= 64
