"""Test the layer that all commands share: options of dataclasses, one-line errors, help at every width."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from commands import arguments_of, command_of, ganserve
from ganserve._command_framework.options import UsageError, flag, hint, options_of
from ganserve._command_framework.parsing import app_of, parse
from ganserve._commands import commands, main
from ganserve_training.presets.about import ABOUT

WIDTHS = (40, 80, 120, 200)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return ganserve(*words, **environment)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("completion", "SHELL: missing. `ganserve completion --help` describes it.\n"),
        ("train digits -- --steps 5", "--steps: stands after `--`. Options stand before it."),
        ("train digits --help nope", "--help nope: no such section. Give one of run, data, networks, "),
        ("train digits --help net", "--help net: no such section. Did you mean networks?\n"),
        ("sample --target=", "--target '': must be"),
        ("sample --timeout-s 0", "--timeout-s 0.0: must be seconds above 0, or inf to wait for ever."),
        ("serve --models nowhere", "--models nowhere: there is no such folder."),
        ("train digits --help=nope", "--help nope: no such section."),
        (
            "train --help networks",
            "--help networks: a preset comes first. Write it like this: ganserve train digits --help networks\n",
        ),
        (
            "train --loss.name hinge --help",
            "--loss.name hinge --help: a preset comes first. Write it like this: "
            "ganserve train digits --loss.name hinge --help\n",
        ),
        (
            "train --help digits",
            "--help digits: a preset comes first. Write it like this: ganserve train digits --help\n",
        ),
        ("sample --seed x", "--seed x: not a whole number. Give one, such as 1."),
        ("sample --timeout-s x", "--timeout-s x: not a number. Give one, such as 0.5."),
        ("sample --timeout-s nan", "--timeout-s nan: not a number. Give one, such as 0.5."),
        ("sample --label", "--label: needs a value. `ganserve sample --help` describes it."),
        ("sample --out=", "--out '': not a path. Give one, such as ./out.\n"),
        (
            "train ring --optimisers.critic.learning-rate.start nan",
            "--optimisers.critic.learning-rate.start nan: not a number. Give one, such as ",
        ),
        ("sample --cont 5", "--cont: no such option. Did you mean --count?"),
        ("sample extra", "extra: not expected here. Leave it out, or see `ganserve sample --help`."),
        ("sample --seed", "--seed: needs a value. `ganserve sample --help` describes it."),
        ("sample --seed --json", "--seed: needs a value. `ganserve sample --help` describes it."),
        ("score --json=1 --nonsense", "--nonsense: no such option. `ganserve score --help` lists them."),
        ("score --json=maybe", "--json maybe: not a choice. Give one of true, false."),
        ("models --nonsense 5", "--nonsense: no such option. `ganserve models --help` lists them."),
        ("doctor more", "more: not expected here. Leave it out, or see `ganserve doctor --help`."),
        ("serve --provider tpu", "--provider tpu: not a choice. Give one of auto, cuda, tensorrt, openvino, cpu."),
        ("serve --prot 5", "--prot: no such option. Did you mean --port?"),
        ("serve --port x", "--port x: not a whole number. Give one, such as 1."),
        ("serve --devices a", "--devices a: not a whole number. Give one, such as 1."),
        (
            "export-onnx",
            "RUN: missing. `ganserve export-onnx --help` describes it.",
        ),
        ("export-onnx runs/x", "--out: missing. `ganserve export-onnx --help` describes it."),
        (
            "export-onnx runs/x --out y --checkpoint first",
            "--checkpoint first: not a choice. Give one of auto, ",
        ),
        ("package", "GENERATOR: missing. `ganserve package --help` describes it."),
        ("package g.onnx --out x --range 0..2", "--range 0..2: not a choice. Give one of -1..1, 0..1, 0..255."),
        ("evaluate", "MODEL: missing. `ganserve evaluate --help` describes it.\n"),
        ("report", "RUN: missing. `ganserve report --help` describes it.\n"),
        ("train digits --threads many", "--threads many: not a whole number. Give one, such as 1."),
        (
            "train digits --optimisers.critic.learning-rate.start abc",
            "--optimisers.critic.learning-rate.start abc: not a number. Give one, such as 0.5.",
        ),
    ],
)
def test_every_command_refuses_in_one_line(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command, *arguments = words.split()
    for width in WIDTHS if "abc" in words else (40,):
        done = run(command, *arguments, COLUMNS=str(width))
        assert (done.returncode, done.stdout) == (2, ""), done
        assert done.stderr.startswith(f"ganserve {command}: error: {message}"), done.stderr
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", commands())
def test_an_empty_path_is_not_this_folder(name: str) -> None:
    app = command_of(name).app()
    for preset, options in arguments_of(name).items():
        for option in options:
            if "Path" in str(option.hint) and option.name != "CRITIC":  # It follows another file.
                words = [f"{option.name}="] if option.index is None else [""]
                with pytest.raises(UsageError, match=rf"^{option.name} '': not a path. Give one, such as ./out.$"):
                    parse(app[preset] if preset else app, words)


def test_a_mistyped_command_is_suggested_by_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export"]) == 2
    assert capsys.readouterr().err == "ganserve: error: export: no such command. Did you mean export-onnx?\n"


def test_near_names() -> None:
    flags = [
        "--steps",
        "--schedule.critic-steps",
        "--schedule.unrolled-steps",
        "--output.log-every-steps",
        "--networks.latent-dim",
    ]
    assert hint("--step", flags, "none") == "Did you mean --steps?"
    assert hint("--latent-dim", flags, "none") == "Did you mean --networks.latent-dim?"
    assert hint("--nothing-like-it", flags, "none") == "none"
    assert hint("export", commands(), "none") == "Did you mean export-onnx?"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", [("sample",), ("serve",), ("train",), ("train", "digits"), ()], ids=" ".join)
def test_help_fits_every_width(
    words: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main([*words, "--help"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    text = output.out
    # A line is longer than the terminal only if a single word is.
    assert [line for line in text.splitlines() if len(line) > width and len(line.split()) > 2] == []
    if not words:
        return
    options = arguments_of(words[0])[""] if words[0] != "train" else []
    shown = {word.rstrip(",") for word in text.split()}
    assert all(option.name in shown for option in options)


def test_a_presets_help_is_short_and_its_sections_have_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    command = command_of("train")
    monkeypatch.setenv("COLUMNS", "80")
    for preset in ABOUT:
        short = command.help([preset, "--help"])
        assert short.count("\n") <= 100
        assert f"runs/{preset}" in short
        everything = {word.rstrip(",") for word in command.help([preset, "--help-all"]).split()}
        assert {word.rstrip(",") for word in short.split() if word.startswith("--")} - {"--help"} <= {
            *everything,
            "--help-all",
        }
        assert {"--loss.name", "--output.keep-checkpoints", "--ema.half-life-kimg"} <= everything
    loss = command.help(["digits", "--help", "loss"])
    assert "--loss.name" in loss
    assert "--data.source" not in loss
    assert "--help-all" in loss


def test_a_section_of_a_presets_help_has_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    networks = run("train", "digits", "--help", "networks")
    assert networks.returncode == 0
    assert run("train", "digits", "--help=networks").stdout == networks.stdout
    assert "scikit-learn's 1,797 handwritten digits\n" in run("train", "digits", "--help").stdout


def test_help_shows_only_options_that_the_choices_have() -> None:
    command = command_of("train")
    assert "--networks.maxout-pieces" not in command.help(["dcgan-32", "--help", "networks"])
    assert "--networks.maxout-pieces" in command.help(["dcgan-32", "--networks.architecture", "mlp", "--help-all"])
    assert "--data.path" in command.help(["digits", "--data.source", "folder", "--help"])
    assert "--data.path" not in command.help(["digits", "--help", "data"])


def test_help_shows_the_presets_values_beside_other_choices() -> None:
    command = command_of("train")
    text = " ".join(command.help(["digits", "--networks.architecture", "mlp", "--batch-size", "9", "--help"]).split())
    assert "(one of convolutional, custom, " in text
    assert "(default: mlp)" not in text
    assert "(default: convolutional)" in text
    assert "(default: 9)" not in text


LINES = {
    "--help": 0,
    "nonsense": 2,
    "sample --help": 0,
    "sample --seed x": 2,
    "train nonsense": 2,
    "doctor --nonsense": 2,
    "serve --models /nowhere": 2,
}
"""Command lines and their exit codes."""
EACH = """
import json, os, sys
from pathlib import Path

from ganserve._commands import main
from ganserve._command_framework import parsing

codes = {}
for line in json.loads(sys.argv[1]):
    if (child := os.fork()) == 0:
        sys.exit(main(line.split()))
    codes[line] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
Path(sys.argv[2]).write_text(json.dumps(codes))
"""
"""Runs each line in a process of its own, one after the other, and writes down the exit codes."""


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"FORCE_COLOR": "1"}], ids=str)
def test_help_and_errors_have_no_escapes_on_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    """Help is the same text on a terminal and in a pipe."""
    lines = {"--help": 0, "sample --help": 0, "train --help": 0, "sample --seed x": 2}
    codes = tmp_path / "codes.json"
    outside, inside = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", EACH, json.dumps(list(lines)), str(codes)],
        env={**os.environ, "COLUMNS": "80", **environment},
        stdout=inside,
        stderr=inside,
    ):
        os.close(inside)
        written = b""
        with contextlib.suppress(OSError):  # Linux reports a closed terminal by this error.
            while part := os.read(outside, 65536):
                written += part
    os.close(outside)
    assert json.loads(codes.read_text()) == lines
    assert b"\x1b" not in written
    piped = [run(*line.split(), COLUMNS="80") for line in lines]
    assert written.decode().replace("\r\n", "\n") == "".join(done.stdout + done.stderr for done in piped)


@pytest.mark.parametrize(
    "closed", [">&-", "<&- >&- 2>&-", *(pytest.param(other, marks=pytest.mark.slow) for other in ("2>&-", ">&- 2>&-"))]
)
def test_closed_streams_are_not_an_error(closed: str, tmp_path: Path) -> None:
    (tmp_path / "each.py").write_text(EACH)
    command = f"{sys.executable} each.py {shlex.quote(json.dumps(list(LINES)))} codes.json {closed}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert json.loads((tmp_path / "codes.json").read_text()) == LINES, done
    assert "Traceback" not in done.stderr


def test_a_full_disk_under_the_output_is_one_line() -> None:
    command = f"{sys.executable} -m ganserve sample --help > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "ganserve sample: error: standard output: No space left on device\n")


@dataclass(frozen=True, kw_only=True)
class Base:
    """Options that several commands share."""

    target: str | None = flag(None, last=True)
    """The server."""
    wide_name: int | None = None
    """How wide."""


@dataclass(frozen=True, kw_only=True)
class Arguments(Base):
    """A command's arguments."""

    file: Path = flag(positional="FILE")
    """The file."""
    rate: float = 0.5
    """How fast."""
    kind: Literal["a", "-b"] = "a"
    """Which."""
    on: bool = True
    """Whether."""
    sizes: tuple[int, ...] = (3,)
    """Sizes."""
    names: tuple[str, ...] = flag((), aliases=("-n",))
    """Names."""
    hidden: int = flag(7, flag=False)


def read(line: str) -> Arguments:
    return Arguments(**parse(app_of("test", options_of(Arguments)), line.split(" ")))


def test_values_of_every_kind() -> None:
    assert read("x --sizes 1 2 --names a -n b") == Arguments(file=Path("x"), sizes=(1, 2), names=("a", "b"))
    assert read("--rate 1e-3 x --kind -b --no-on") == Arguments(file=Path("x"), rate=1e-3, kind="-b", on=False)
    assert read("x --wide-name=3 --wide_name None --on=true") == Arguments(file=Path("x"))
    assert read("x --rate inf --wide-name -3") == Arguments(file=Path("x"), rate=float("inf"), wide_name=-3)
    assert read("-- --sizes").file == Path("--sizes")
    for line, message in (
        ("x --sizes 1.5", "--sizes 1.5: not a whole number. Give one, such as 1."),
        ("x --wide-name 0.5", "--wide-name 0.5: not a whole number"),
        ("x --rate nan", "--rate nan: not a number"),
        ("x --kind c", "--kind c: not a choice. Give one of a, -b."),
        ("x y", "y: not expected here. Leave it out, or see `test --help`."),
        ("x --hidden 8", "--hidden: no such option. `test --help` lists them."),
        ("--sizes 1", "FILE: missing. `test --help` describes it."),
    ):
        with pytest.raises(UsageError, match=f"^{message}"):
            read(line)


def test_values_are_read_where_pydantic_is_loaded() -> None:
    pytest.importorskip("pydantic")
    assert read("x --sizes 1 --names a") == Arguments(file=Path("x"), sizes=(1,), names=("a",))


def test_help_comes_from_docstrings_of_fields_and_of_their_bases() -> None:
    options = app_of("test", options_of(Arguments)).assemble_argument_collection()
    assert {option.name: option.parameter.help for option in options} == {
        "FILE": "The file.",
        "--wide-name": "How wide.",
        "--rate": "How fast. (default: 0.5)",
        "--kind": "Which. (default: a)",
        "--on": "Whether. (default: True)",
        "--sizes": "Sizes. (default: 3)",
        "--names": "Names.",
        "--target": "The server.",
    }
    assert [option.name for option in options][-1] == "--target"


def test_errors_quote_input_without_its_escapes() -> None:
    with pytest.raises(UsageError, match=r"^--sizes '\\x1b\[31m': not a whole number"):
        read("x --sizes \x1b[31m")
