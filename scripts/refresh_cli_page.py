"""Writes what the commands print into docs/cli.md, below each line `$ ganserve …` of its text blocks.

    python scripts/refresh_cli_page.py

tests/client_sdk/test_cli_page.py fails where the page and the commands differ.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
BLOCK = re.compile(r"(?<=^```text\n)(\$ ganserve .*?)(?=^```$)", re.MULTILINE | re.DOTALL)
COLUMNS = "100"


def refreshed(page: str) -> str:
    """The page, with the output of each command as it is now."""
    return BLOCK.sub(lambda block: "".join(map(_shown, _commands(block[0]))), page)


def _commands(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ganserve ")]


def _shown(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        env={**os.environ, "COLUMNS": COLUMNS, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    return f"$ {command}\n{done.stdout}{done.stderr}"


if __name__ == "__main__":
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
