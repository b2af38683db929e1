"""A command's arguments, and its refusals in one look: one line that says what was wrong and what to do."""

import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any, TypeVar

import tyro

from ganserve_training.errors import ConfigError

ArgumentsT = TypeVar("ArgumentsT")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"[│╭╮╰╯]")  # Where the output is not UTF-8, there is none.
_RULE = re.compile(r"[─-]{4,}")
_MENTIONED = re.compile(r"--[a-z][\w.-]*")
# What tyro says of a refused value, and what we say; anything else is said in tyro's words.
_PHRASES = (
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1 must be a whole number (got \2)"),
    (r"Error parsing (\S+): could not convert string to float: (.*)", r"\1 must be a number (got \2)"),
    (r"Error parsing (\S+): no type matching (\S+) .*? from \['(.*?)'\].*", r"\1 must be \2 (got '\3')"),
    (r"Error parsing (\S+): (.*)", r"\1: \2"),
    (r"invalid choice (.*?) for argument '(\S+)'\. Expected one of \((.*?),?\)\.", r"\2 must be one of \3 (got \1)"),
    (r"Missing value for argument '(\S+)'\..*", r"\1 needs a value"),
    (r"Unrecognized options: (.*)", r"no such option: \1"),
    (r"Missing from [^:]*: (\S+).*", r"\1 is missing"),
)


def parse(kind: type[ArgumentsT], argv: Sequence[str], prog: str, **options: Any) -> ArgumentsT:
    """The command's arguments; ``--help`` writes and ends the process.

    tyro frames its refusals in boxes, and says those of a configuration's own checks as if they were a parser's: here
    both become what every other error of a command is.

    Args:
        kind: their dataclass.
        argv: the command's arguments.
        prog: the command, such as ``ganserve report``.
        options: further ones of :func:`tyro.cli`.

    Raises:
        ConfigError: an argument is refused; the message is one line.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            arguments: ArgumentsT = tyro.cli(kind, args=list(argv), prog=prog, **options)
        sys.stderr.write(said.getvalue())  # Such as a warning.
        return arguments
    except SystemExit as end:
        if not end.code:
            raise
    raise ConfigError(f"{refusal(said.getvalue())}; `{prog} --help` lists what there is")


def refusal(box: str) -> str:
    """The words in one of tyro's boxes, as one line."""
    sections: list[list[str]] = [[]]
    for line in _COLOUR.sub("", box).splitlines()[1:]:  # The first has the title.
        words = _FRAME.sub("", line).strip()
        if _RULE.fullmatch(words):
            sections.append([])
        elif words:
            sections[-1].append(words)
    sections = [section for section in sections if section]
    told = " ".join(sections[0]) if sections else "an argument is refused"
    for pattern, ours in _PHRASES:
        if match := re.fullmatch(pattern, told):
            told = match.expand(ours)
            break
    near = [flag for words in sections[1:2] if words[0].startswith("Perhaps") for flag in _options(words[1:])]
    return f"{told} (did you mean {' or '.join(near)}?)" if near else told


def _options(lines: Sequence[str]) -> list[str]:
    """The options that lines of help begin with."""
    return [match[0] for line in lines if (match := _MENTIONED.match(line))]
