"""docs/presets.md: every preset has its row, and every command line is one that training accepts."""

import re
import shlex
from pathlib import Path

import pytest

from ganserve_training.cli import train as train_command
from ganserve_training.cli.train import TrainArguments
from ganserve_training.presets import PRESETS

TEXT = (Path(__file__).parents[2] / "docs" / "presets.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMANDS = [
    words
    for block in BLOCK.findall(TEXT)
    for line in block.replace("\\\n", " ").splitlines()
    if (words := shlex.split(line, comments=True))[:2] == ["ganserve", "train"]
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_training_accepts_the_command_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    preset = words[2]
    default = TrainArguments(config=PRESETS[preset], out=Path("runs") / preset)
    started: list[TrainArguments] = []
    monkeypatch.setattr(train_command, "_train", lambda arguments: started.append(arguments) or 0)
    assert train_command.main(words[2:]) == 0
    # A line that changes nothing shows nothing.
    assert started[0] != default or words == ["ganserve", "train", preset]


@pytest.mark.parametrize("title", ["What there is", "Measured"])
def test_every_preset_has_its_row(title: str) -> None:
    """One in each table, with as many cells as the table's head has."""
    assert COMMANDS
    table = re.search(rf"^## {title}\n.*?^(\|.*?)\n\n", TEXT, re.MULTILINE | re.DOTALL)
    assert table
    head, rule, *rows = table[1].splitlines()
    assert [row.split("`")[1] for row in rows] == list(PRESETS)
    assert {row.count("|") for row in (rule, *rows)} == {head.count("|")}
