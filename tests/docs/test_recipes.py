"""Run the recipes of CONTRIBUTING.md unchanged, in another package."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from documents import ROOT, blocks
from ganserve import _commands
from ganserve_training.run.logs import read_log

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "CONTRIBUTING.md"
EXTENSIONS = [block for block in blocks(PAGE, "python") if block.name]
"""Programs that register a class and train with it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run all programs in one process, the last first, so that none can need the one before it; return its folder."""
    folder = tmp_path_factory.mktemp("recipes")
    for block in EXTENSIONS:
        (folder / block.name).write_text(block.code)
    program = "".join(f"import {block.name.removesuffix('.py')}\n" for block in reversed(EXTENSIONS))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder


def test_each_kind_of_extension_has_a_program() -> None:
    assert len(EXTENSIONS) == 5


@pytest.mark.parametrize("run", ["margin", "score-norm", "linear", "spiral"])
def test_the_extension_trains(folder: Path, run: str) -> None:
    last = read_log(folder / "runs" / run / "log.jsonl")[-1]
    assert last["step"] == 20
    assert ("score_norm" in last) == (run == "score-norm")


def test_the_metric_measures(folder: Path) -> None:
    assert float((folder / "printed.txt").read_text()) >= 0.0


def test_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (block for block in blocks(PAGE, "python") if "SeedsArguments" in block.code)
    (tmp_path / "seeds.py").write_text(block.code)
    monkeypatch.setattr(_commands, "__path__", [*_commands.__path__, str(tmp_path)])
    monkeypatch.setattr(_commands.__spec__, "submodule_search_locations", _commands.__path__)
    # Without the commands that it has found before.
    monkeypatch.setattr(_commands, "commands", _commands.commands.__wrapped__)
    assert _commands.main(["seeds", "-n", "3"]) == 0
    assert len(set(capsys.readouterr().out.split())) == 3
    assert _commands.main(["--help"]) == 0
    assert "\n  seeds print random seeds\n" in re.sub(" {2,}(?=print)", " ", capsys.readouterr().out)
