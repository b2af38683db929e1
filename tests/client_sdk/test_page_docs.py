"""docs/page.md: its commands and pictures are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import tyro
from PIL import Image

from ganserve._cli.ui import UiArguments

PAGE = Path(__file__).parents[2] / "docs/page.md"


def test_the_commands_parse() -> None:
    lines = [line.partition("#")[0] for line in PAGE.read_text().splitlines() if line.startswith("ganserve ui")]
    arguments = [tyro.cli(UiArguments, args=shlex.split(line)[2:]) for line in lines]
    assert [(each.target, each.models) for each in arguments] == [("localhost:50051", None), (None, Path("models"))]


def test_the_pictures_are_small_and_there() -> None:
    files = re.findall(r"!\[.*?\]\((.*?)\)", PAGE.read_text())
    assert len(files) == 2
    for file in files:
        path = PAGE.parent / file
        assert path.stat().st_size < 100_000
        with Image.open(path) as image:
            image.verify()
