"""Test that every flag on a page exists, and that training accepts every training command."""

from __future__ import annotations

import functools
import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest

from commands import arguments_of, ganserve
from documents import BENCHMARKS, PAGES, ROOT, blocks, commands, flags_in
from ganserve._command_framework.parsing import app_of
from ganserve._commands import commands as known_commands
from ganserve_training.commands.train_options import options_of_config
from ganserve_training.config import TrainConfig, allowed_choices, with_choices
from ganserve_training.presets import PRESETS

if TYPE_CHECKING:
    from pathlib import Path

# Flags of torchrun, legacy.py, curl, uvicorn and mypy, and one misspelt on purpose.
OTHERS = {"--source", "--dest", "--nnodes", "--nproc-per-node", "--fail", "--silent", "--app-dir", "--strict", "--prot"}
# Commands of these have flags of their own.
OTHER_PROGRAMS = re.compile(
    r"^ *(?:docker|mkdir|ray|kubectl|helm|sudo|buf|grpcurl|\S*python benchmarks/\S*) (?:.*\\\n)*.*$", re.MULTILINE
)
# One command ends at the next command, or at the end of the line or of the code.
COMMAND = re.compile(r"\bganserve ([a-z-]+)((?:\\\n|[^\n`|;&])*)")


@functools.cache
def flags_of(command: str) -> frozenset[str]:
    options = list(itertools.chain(*arguments_of(command).values()))
    if command == "train":
        others = [{path: name} for path, names in allowed_choices().items() for name in names]
        for other in others:
            app = app_of("train", options_of_config(with_choices(TrainConfig(), other)))
            options += app.assemble_argument_collection()
    return frozenset(name for option in options for name in option.names) | {"--help", "--help-all"}


@pytest.mark.parametrize("page", [*PAGES, *BENCHMARKS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_flag_exists(page: Path) -> None:
    text = OTHER_PROGRAMS.sub("", page.read_text(encoding="utf-8"))
    exist = {"--version"}.union(*map(flags_of, known_commands()))
    if page in BENCHMARKS:  # Scripts on the page have their own flags.
        exist |= flags_in("".join(script.read_text(encoding="utf-8") for script in page.parent.rglob("*.py")))
    tables = {flag.rpartition(".")[0] for flag in exist}
    assert flags_in(text) - exist - tables - OTHERS == set()
    wrong = {
        (command, flag)
        for command, arguments in COMMAND.findall(text)
        if command in known_commands()
        for flag in flags_in(arguments.partition(" #")[0]) - flags_of(command) - OTHERS
    }
    assert wrong == set()


def test_flags_are_found() -> None:
    assert "--diagnosis.no-enabled" in flags_of("train")
    assert flags_in("`--a.b-c.{start,end}`, --two, x--no or a/--no") == {"--a.b-c.start", "--a.b-c.end", "--two"}


def test_commands_are_found_with_their_flags() -> None:
    found = [
        (command, flags_in(arguments))
        for page in PAGES
        for command, arguments in COMMAND.findall(page.read_text(encoding="utf-8"))
        if command in known_commands() and "--" in arguments
    ]
    assert {"train", "export-onnx", "serve", "sample", "evaluate"} <= {command for command, _ in found}
    assert len(found) > 30
    assert COMMAND.findall("`ganserve train x \\\n --a 1` --no") == [("train", " x \\\n --a 1")]


TRAINING = [
    words
    for page in PAGES
    for block in blocks(page, "sh", "bash")
    for words in commands(block)
    if words[:2] == ["ganserve", "train"]
]


class Accepted(Exception):  # noqa: N818 - what the command line is meant to come to
    """The command line was accepted."""


@pytest.mark.parametrize("words", TRAINING, ids=" ".join)
def test_training_accepts_the_command_line(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if words[2] == "--data":
        pytest.skip("a command without a preset looks at the data, which the tutorial's test has")
    configs = []

    def accept(config: Any, *_: Any, **__: Any) -> None:
        configs.append(config)
        raise Accepted

    monkeypatch.setattr("ganserve_training.run.start_or_resume.train", accept)
    monkeypatch.setattr("ganserve_training.run.process_supervisor.supervise", accept)
    with pytest.raises(Accepted):
        ganserve(*words[1:], folder=tmp_path)
    # A command that changes no value would prove nothing.
    plain = {word for word in words[3:] if word.startswith("--")} <= {"--out", "--processes"}
    assert plain or configs[0] != PRESETS[words[2]]


def test_training_commands_are_found_on_each_page() -> None:
    assert len(TRAINING) > 10
