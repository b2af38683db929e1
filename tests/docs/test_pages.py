"""No page is forgotten by the tests; and what no other one runs: evaluation.md's program, training.md's lines."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from ganserve_training.cli.train import TrainArguments, main
from ganserve_training.presets import PRESETS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def test_every_page_with_programs_or_commands_has_a_test_that_names_it() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    pages = [
        path.name
        for path in DOCS.glob("*.md")
        if re.search(r"^```(python|sh|bash|toml|js)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(pages) > 8
    assert [page for page in pages if page not in tests] == []


def test_evaluation_from_python(tmp_path: Path) -> None:
    page = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    run = tmp_path / "runs" / "digits"
    assert main(["digits", "--out", str(run), "--steps", "3", "--schedule.burn-in-steps", "2", "--threads", "1"]) == 0
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    # FID, the features, and a figure for each digit.
    assert re.fullmatch(r"\d+\.\d+ classifier [\[({].*?" + r"\d\.\d+.*?" * 10 + r"[\])}]\n", done.stdout), done.stdout


def commands_of_training() -> list[list[str]]:
    page = (DOCS / "training.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash|sh)?\n(ganserve train.*?|# The.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("words", commands_of_training(), ids=" ".join)
def test_training_accepts_the_command_line(words: list[str]) -> None:
    assert words[:2] == ["ganserve", "train"]
    default = TrainArguments(config=PRESETS[words[2]], out=Path("runs") / words[2])
    assert tyro.cli(TrainArguments, args=words[3:], default=default) != default


def test_training_has_commands() -> None:
    assert len(commands_of_training()) == 2
