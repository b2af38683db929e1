"""docs/trainers.md: every command trains, every diagnosis and every loss is spoken of, every flag exists."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import get_type_hints

import pytest
import tyro

from ganserve_training.cli.train import TrainArguments, main
from ganserve_training.config import TrainConfig
from ganserve_training.diagnosis.findings import KINDS
from ganserve_training.objectives.losses import LOSSES
from ganserve_training.presets import PRESETS

TEXT = (Path(__file__).parents[2] / "docs" / "trainers.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
# A few steps of small batches, where the page's run takes thousands.
SHORT = ["--steps", "3", "--batch-size", "16", "--threads", "1"]


def test_every_block_is_a_command_that_is_run() -> None:
    assert TEXT.count("```") == 2 * len(re.findall(r"^```sh$", TEXT, re.MULTILINE))
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[words.index("--out") + 1])
def test_every_command_trains(words: list[str], tmp_path: Path) -> None:
    assert words[:2] == ["ganserve", "train"]
    default = TrainArguments(config=PRESETS[words[2]], out=Path("runs") / words[2])
    assert tyro.cli(TrainArguments, args=words[3:], default=default).config != default.config
    words[words.index("--out") + 1] = str(tmp_path / "run")
    assert main([*words[2:], *SHORT]) == 0
    assert list((tmp_path / "run" / "checkpoints").glob("*3.pt"))


def flags_of(kind: type, prefix: str = "--") -> set[str]:
    found = set()
    for name, hint in get_type_hints(kind).items():
        flag = prefix + name.replace("_", "-")
        found |= flags_of(hint, f"{flag}.") if dataclasses.is_dataclass(hint) else {flag}
    return found


def test_every_flag_exists() -> None:
    named = set(re.findall(r"--[a-z][a-z0-9.-]*[a-z0-9]", TEXT)) - {
        "--out",
        "--checkpoint",
    }  # the latter: export-onnx's
    assert len(named) > 10
    assert named - flags_of(TrainConfig) == set()


def test_every_diagnosis_has_its_section() -> None:
    titles = [title.lower().replace(" ", "-") for title in re.findall(r"^### (.*)$", TEXT, re.MULTILINE)]
    assert titles == list(KINDS)


def test_every_loss_has_its_row() -> None:
    (table,) = re.findall(r"^\| loss .*?\n\|[-|]+\n(.*?)\n\n", TEXT, re.MULTILINE | re.DOTALL)
    assert {row.split("`")[1] for row in table.splitlines()} == set(LOSSES.names)


def test_every_preset_exists() -> None:
    (table,) = re.findall(r"^\| you have .*?\n\|[-|]+\n(.*?)\n\n", TEXT, re.MULTILINE | re.DOTALL)
    taken = {name for row in table.splitlines() for name in re.findall(r"`([\w-]+)`", row.split("|")[2])}
    assert taken
    assert taken <= set(PRESETS)
