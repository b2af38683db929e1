"""Read the documents for tests: code blocks (by sybil), tables and flags.

Tests use only structure (blocks, first columns, flags), never sentences, so that pages can be rewritten.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from sybil import Document
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from commands import GANSERVE, said

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*/README.md"))
TARGET = "localhost:50051"
"""The server's address on every page; a test replaces it by its own server's."""
STEPS = 20
"""Training steps in place of the number on the page."""

_FENCE = RawFencedCodeBlockLexer(re.compile(r"(?P<language>\w*)[ \t]*(?P<name>[\w./-]*)[ \t]*$\n", re.MULTILINE))
_PRINTS = re.compile(r"(this |it )?prints:?", re.IGNORECASE)
_FLAG = re.compile(r"(?<![\w./-])--[a-z][\w.{},-]*[a-z0-9}]")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    name: str
    """File name: the second word after the fence."""
    code: str
    printed: str | None
    """Text block that follows a line such as "prints:"."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return a page's fenced blocks in order, of all languages or of some."""
    document = Document.parse(str(page), _FENCE)
    regions = [region for _, region in document.regions]
    found = []
    for region, following in itertools.zip_longest(regions, regions[1:]):
        between = document.text[region.end : following.start].strip() if following else ""
        printed = following.lexemes["source"] if _PRINTS.fullmatch(between) else None
        line = document.text.count("\n", 0, region.start) + 1
        language, name, code = (str(region.lexemes[key]) for key in ("language", "name", "source"))
        found.append(Block(page=page, line=line, language=language, name=name, code=code, printed=printed))
    return [block for block in found if not languages or block.language in languages]


def the_block(language: str, part: str) -> Block:
    """Return the only block on any page that has this language and text."""
    found = [block for page in PAGES for block in blocks(page, language) if part in block.code]
    assert len(found) == 1, f"{part!r} is in {[str(block) for block in found]}"
    return found[0]


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block, without prompts and comments."""
    for line in block.code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line.removeprefix("$ "), comments=True):
            yield words


def first_cells(page: Path) -> list[list[str]]:
    """Return the `code` at the beginning of each row, for each table of a page; skip other rows."""
    found: list[list[str]] = []
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r"\s*\|[-:| ]+\|$", line):
            found.append([])
            inside = True
        elif inside and line.lstrip().startswith("|"):
            if match := re.match(r"\s*\|\s*`([^`]+)`", line):
                found[-1].append(match[1])
        else:
            inside = False
    return found


def flags_in(text: str) -> set[str]:
    """Return the flags that a text names, with braces written out: --a.{start,end} is two."""
    flags = set()
    for match in _FLAG.finditer(text):
        pieces = [piece.split(",") for piece in re.split(r"[{}]", match.group())]
        flags |= {"".join(choice) for choice in itertools.product(*pieces)}
    return flags


def shortened(words: list[str]) -> list[str]:
    """Return a training command with few steps, and with a thousandth of every large number."""
    short = [str(int(word) // 1000) if word.isdigit() and int(word) >= 1000 else word for word in words]
    if "--steps" not in short:
        return [*short, "--steps", str(STEPS)]
    short[short.index("--steps") + 1] = str(STEPS)
    return short


class Reader:
    """Do what a page says in one folder, as its reader would.

    Python and blocks of `ganserve …` run in the test's process; `ganserve serve` and other shell blocks in their own.
    """

    def __init__(self, folder: Path, target: str = TARGET) -> None:
        self.folder = folder
        self.target = target
        self._server: subprocess.Popen[str] | None = None

    def do(self, block: Block) -> str:
        """Execute one block and return what it printed; it must print what the page says, where the page does."""
        if block.name:
            (self.folder / block.name).write_text(block.code)
        with mock.patch("ganserve_training.evaluation.features.classifier._STEPS", STEPS):
            printed = self._python(block) if block.language == "python" else self._shell(block)
        if block.printed is not None:
            assert printed == block.printed, str(block)
        return printed

    def close(self) -> None:
        """Stop the server, if one runs, and check its exit code."""
        if self._server is not None:
            self._server.terminate()
            self._server.communicate(timeout=60)
            assert self._server.returncode == 0

    def _python(self, block: Block) -> str:
        text = block.code.replace(TARGET, self.target)
        if "num_workers" in text:  # Workers would be forks, but this process uses gRPC.
            return self._process(block, [sys.executable, "-c", text])
        code = compile(text, str(block), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.chdir(self.folder):
            try:
                exec(code, {"__name__": "__main__"})
            except Exception as error:
                raise AssertionError(f"{block}\n{traceback.format_exc()}") from error
        return printed.getvalue()

    def _shell(self, block: Block) -> str:
        lines = [words for words in commands(block) if words[:2] != ["pip", "install"]]  # It is installed.
        if any(words[0] != "ganserve" for words in lines):
            return self._process(block, ["bash", "-euo", "pipefail", "-c", block.code])
        printed = ""
        for words in lines:
            if words[1] == "serve":
                self._serve(words)
            else:
                words = shortened(words) if words[1] == "train" else words
                printed += said(*words[1:], folder=self.folder, GANSERVE_TARGET=self.target)
        return printed

    def _serve(self, words: list[str]) -> None:
        self.close()
        words = [*words, *([] if "--port" in words else ["--port", "50051"])]
        at = words.index("--port") + 1
        command = [GANSERVE, *words[1:at], "0", *words[at + 1 :]]
        self._server = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._server.stdout is not None
        lines = []
        while not (match := re.fullmatch(r"serving on (\S+)\n", line := self._server.stdout.readline())):
            assert line, f"the server ended:\n{''.join(lines)}"
            lines.append(line)
        self.target = match[1]

    def _process(self, block: Block, call: list[str]) -> str:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GANSERVE_TARGET": self.target,
        }
        done = subprocess.run(call, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout
