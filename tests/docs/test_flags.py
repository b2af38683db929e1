"""Every flag that a page names exists, and in a command's line it is that command's."""

from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path

import pytest

from ganserve._cli import COMMANDS
from ganserve._cli.completion import help_of, read_options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", *sorted((ROOT / "benchmarks").glob("*/README.md"))]
FLAG = re.compile(r"(?<![\w./-])--[a-z][\w.{},-]*[a-z0-9}]")
# Of torchrun, curl, uvicorn and mypy; and one that shows how a mistake is told.
OTHERS = {"--nnodes", "--nproc-per-node", "--fail", "--silent", "--app-dir", "--strict", "--prot"}
# One command: up to where the next begins, or the line or the code ends.
COMMAND = re.compile(r"\bganserve ([a-z-]+)((?:\\\n|[^\n`|;&])*)")


@functools.cache
def flags_of(command: str) -> frozenset[str]:
    preset = ("digits",) if command == "train" else ()
    return frozenset(flag for option in read_options(help_of(command, *preset)) for flag in option.flags) | {"--help"}


def flags_in(text: str) -> set[str]:
    """The flags that a text names, with braces written out."""
    flags = set()
    for match in FLAG.finditer(text):
        pieces = [piece.split(",") for piece in re.split(r"[{}]", match.group())]
        flags |= {"".join(choice) for choice in itertools.product(*pieces)}
    return flags


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_flag_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    exist = {"--version"}.union(*map(flags_of, COMMANDS))
    if page.name == "README.md":  # A benchmark's script beside it has its own.
        exist |= flags_in("".join(script.read_text(encoding="utf-8") for script in page.parent.glob("*.py")))
    tables = {flag.rpartition(".")[0] for flag in exist}
    assert flags_in(text) - exist - tables - OTHERS == set()
    wrong = {
        (command, flag)
        for command, arguments in COMMAND.findall(text)
        if command in COMMANDS
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
        if command in COMMANDS and "--" in arguments
    ]
    assert {"train", "export-onnx", "serve", "sample", "evaluate"} <= {command for command, _ in found}
    assert len(found) > 30
    assert COMMAND.findall("`ganserve train x \\\n --a 1` --no") == [("train", " x \\\n --a 1")]
