"""Test that docs/cli.md shows the commands' own output."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from ganserve import _commands
from ganserve._command_framework import process

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

_spec = spec_from_file_location("refresh_cli_page", ROOT / "scripts" / "refresh_cli_page.py")
assert _spec is not None
assert _spec.loader is not None
script = module_from_spec(_spec)
_spec.loader.exec_module(script)


@pytest.mark.parametrize("block", script.BLOCK.findall(PAGE), ids=lambda block: block.partition("\n")[0])
def test_a_block_shows_what_its_commands_print(block: str) -> None:
    shown = f"```text\n{block}```\n"
    assert script.refreshed(shown) == shown, "run scripts/refresh_cli_page.py"


def test_each_command_has_its_help() -> None:
    assert set(re.findall(r"^\$ ganserve (\S+) --help$", PAGE, re.MULTILINE)) == set(_commands.commands())


def test_a_new_command_gets_its_help() -> None:
    without = re.sub(r"\n\$ ganserve models --help\n(?:.+\n)*", "", PAGE)
    assert "ganserve models --help" not in without
    assert script.with_new_commands(PAGE) == PAGE
    section = script.with_new_commands(without).partition("\n## Use a server\n")[2].partition("\n## ")[0]
    assert "$ ganserve models --help" in script.BLOCK.findall(section)[0]


def test_exit_codes() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    ours = {process.DONE, process.FAILED, process.BAD_USAGE, process.UNREACHABLE, process.INTERRUPTED}
    ours |= {process.BROKEN_PIPE}
    assert codes == ours | {128 + 15}
