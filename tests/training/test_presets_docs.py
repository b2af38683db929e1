"""docs/presets.md and benchmarks/presets: every preset has its rows, and training accepts every command line."""

import re
import shlex
from pathlib import Path

import pytest
import tyro

from ganserve_training.cli.train import TrainArguments
from ganserve_training.presets import PRESETS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMANDS = [
    words
    for block in BLOCK.findall(TEXT)
    for line in block.replace("\\\n", " ").splitlines()
    if (words := shlex.split(line, comments=True))[:2] == ["ganserve", "train"]
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_training_accepts_the_command_line(words: list[str]) -> None:
    preset = words[2]
    default = TrainArguments(config=PRESETS[preset], out=Path("runs") / preset)
    arguments = tyro.cli(TrainArguments, args=words[3:], default=default)
    # A line that changes nothing shows nothing.
    assert arguments != default or words == ["ganserve", "train", preset]


@pytest.mark.parametrize("page", ["docs/presets.md", "benchmarks/presets/README.md"])
def test_every_preset_has_its_row(page: str) -> None:
    """One in the first table, with as many cells as the table's head has."""
    assert COMMANDS
    table = re.search(r"^(\|.*?)\n\n", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert table
    head, rule, *rows = table[1].splitlines()
    assert [row.split("`")[1] for row in rows] == list(PRESETS)
    assert {row.count("|") for row in (rule, *rows)} == {head.count("|")}
