"""Write what the commands print into docs/cli.md, below each line `$ ganserve …` of its text blocks.

    python scripts/refresh_cli_page.py

The page shows usage and examples of a command's help, and the sections of a preset's. A new command is added to the
section that has the name of its group. tests/client_sdk/test_cli_page.py fails where the page and the commands differ.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from pathlib import Path
from unittest import mock

from ganserve._commands import commands, main

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
BLOCK = re.compile(r"(?<=^```text\n)(\$ ganserve .*?)(?=^```$)", re.MULTILINE | re.DOTALL)
COLUMNS = "120"


def refreshed(page: str) -> str:
    """Return the page with the output of each command as it is now."""
    return BLOCK.sub(lambda block: "".join(map(_shown, _commands(block[0]))).rstrip("\n") + "\n", page)


def with_new_commands(page: str) -> str:
    """Return the page with the help of each command that it lacks, at the end of the command's section."""
    for name, entry in commands().items():
        if f"$ ganserve {name} --help\n" not in page:
            before, heading, rest = page.partition(f"\n## {entry.group}\n")
            section, *others = re.split(r"(?=\n## )", rest, maxsplit=1)
            body, end, after = section.rpartition("```")
            page = "".join([before, heading, body, f"\n$ ganserve {name} --help\n", end, after, *others])
    return page


def _commands(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ganserve ")]


def _shown(command: str) -> str:
    with (
        io.StringIO() as printed,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        mock.patch.dict(os.environ, COLUMNS=COLUMNS),
    ):
        main(shlex.split(command)[1:])
        text = printed.getvalue()
    if command.endswith(" --help") and command != "ganserve --help":
        usage, about, *parts = text.split("\n\n")
        parts = [part for part in parts if part.startswith(("all options", "examples:"))]
        text = "\n".join([usage, about, *parts]).rstrip("\n") + "\n\n"
    return f"$ {command}\n{text}"


if __name__ == "__main__":
    PAGE.write_text(refreshed(with_new_commands(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
