"""How refusals of the parser of arguments become one line: of boxes that tyro drew, and of every command."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ganserve._command_line import refusal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("sample --seed x", "--seed must be a whole number (got 'x')"),
        ("sample --timeout-s x", "--timeout-s must be a number (got 'x')"),
        ("sample --cont 5", "no such option: --cont, 5 (did you mean --count or --control?)"),
        ("sample extra", "no such option: extra"),
        ("sample --seed", "--seed needs a value"),
        ("score --json=1 --nonsense", "no such option: --nonsense"),
        ("models --nonsense", "no such option: --nonsense"),
        ("doctor more", "no such option: more"),
        ("serve --provider tpu", "--provider must be one of 'auto', 'cuda', 'tensorrt', 'cpu' (got 'tpu')"),
        ("serve --prot 5", "no such option: --prot, 5 (did you mean --port?)"),
        ("serve --port x", "--port must be a whole number (got 'x')"),
        ("serve --devices a", "--devices cannot be 'a'"),
        ("export-onnx", "RUN and --out are missing"),
        ("export-onnx runs/x", "--out is missing"),
        ("export-onnx runs/x --out y --checkpoint first", "--checkpoint must be one of 'auto', 'latest', 'best'"),
        ("package", "GENERATOR and --out are missing"),
        ("package g.onnx --out x --range 0..2", "--range must be one of '-1..1', '0..1', '0..255' (got '0..2')"),
        ("evaluate", "MODEL is missing"),
        ("report", "RUN is missing"),
        ("train digits --threads many", "--threads must be a whole number (got 'many')"),
    ],
)
def test_every_command_refuses_in_one_line(words: str, told: str, tmp_path: Path) -> None:
    command, *arguments = words.split()
    environment = {**os.environ, "COLUMNS": "60"}  # boxes break their lines there
    done = subprocess.run(
        [sys.executable, "-m", "ganserve", command, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith(f"ganserve {command}: error: {told}"), done.stderr
    assert " --help` lists what there is\n" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_box_is_read_with_and_without_frames_and_colours() -> None:
    framed = """\
╭─ Value error ───────────────────╮
│ Error parsing \x1b[1m--steps\x1b[0m: invalid │
│ literal for int() with base 10: 'x' │
│ ─────────────────────────────── │
│ For full helptext, see x --help │
╰─────────────────────────────────╯
"""
    plain = """\
 Value error
 ------------------
  Error parsing --steps: invalid
  literal for int() with base 10: 'x'
  ---------------
  For full helptext, see x --help

"""
    assert refusal(framed) == refusal(plain) == "--steps must be a whole number (got 'x')"


@pytest.mark.parametrize(("box", "told"), [("", "an argument is refused"), ("Title\nSome words.\n", "Some words.")])
def test_words_that_are_not_known_stay_as_they_are(box: str, told: str) -> None:
    assert refusal(box) == told


def test_all_that_is_missing_is_named() -> None:
    box = """\
╭─ Required options ──────────────╮
│ Missing from x:                 │
│     GENERATOR                   │
│         The generator's file,   │
│         whatever. (required)    │
│     -o PATH, --out PATH         │
│         Where to. (required)    │
│ ─────────────────────────────── │
│ For full helptext, run x --help │
╰─────────────────────────────────╯
"""
    assert refusal(box) == "GENERATOR and --out are missing"
