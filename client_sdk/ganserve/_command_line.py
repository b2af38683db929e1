"""A command's arguments, and its refusals in one look: one line that says what was wrong and what to do.

All components' commands use this, training's too: it imports nothing but tyro.
"""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any, TypeVar

import tyro

from ganserve._help_rules import rules

if TYPE_CHECKING:
    from collections.abc import Sequence

ArgumentsT = TypeVar("ArgumentsT")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"[│╭╮╰╯]")  # Where the output is not UTF-8, there is none.
_RULE = re.compile(r"[─-]{4,}")
_MENTIONED = re.compile(r"(?:-\w(?: \S+)?, )?(--[a-z][\w.-]*)")
# What tyro says of a refused value, and what we say; anything else is said in tyro's words.
_PHRASES = (
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1 must be a whole number (got \2)"),
    (r"Error parsing (\S+): could not convert string to float: (.*)", r"\1 must be a number (got \2)"),
    (r"Error parsing (\S+): Could not find valid parse for arguments: \['(.*?)'.*", r"\1 cannot be '\2'"),
    (r"Error parsing (\S+): (.*)", r"\1: \2"),
    (
        r"invalid choice (.*?) for argument '(\S+)'\. Expected one of \((.*?),?\)\.",
        r"\2 must be one of \3 (got \1)",
    ),
    (r"Missing value for argument '(\S+)'\..*", r"\1 needs a value"),
    (r"Unrecognized options: (.*)", r"no such option: \1"),
)
# Leaving the option out says it shorter.
_NONE = re.compile(r", 'None'(?= )")


class UsageError(Exception):
    """An argument is refused; the message is one line."""


def parse(
    kind: type[ArgumentsT], argv: Sequence[str], prog: str, *, examples: Sequence[str] = (), **options: Any
) -> ArgumentsT:
    """The command's arguments; `--help` writes and ends the process.

    tyro frames its refusals in boxes, and says those of a configuration's own checks as if they were a parser's: here
    both become what every other error of a command is.

    Args:
        kind: Their dataclass.
        argv: The command's arguments.
        prog: The command, such as "ganserve sample".
        examples: Command lines for the end of the help's description.
        options: Further ones of `tyro.cli`; `description` without the examples.

    Raises:
        UsageError: An argument is refused.
    """
    if examples:
        shown = "\n".join(f"  {example}" for example in examples)
        options["description"] = f"{options['description']}\n\nexamples:\n{shown}"
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            arguments: ArgumentsT = tyro.cli(kind, args=list(argv), prog=prog, registry=rules(), **options)
        sys.stderr.write(said.getvalue())  # Such as a warning.
        return arguments
    except SystemExit as end:
        if not end.code:
            raise
    raise UsageError(f"{refusal(said.getvalue())}; `{prog} --help` lists what there is")


def refusal(box: str) -> str:
    """The words in one of tyro's boxes, as one line."""
    sections: list[list[str]] = [[]]
    for line in _COLOUR.sub("", box).splitlines()[1:]:  # The first has the title.
        words = _FRAME.sub("", line).rstrip()
        if _RULE.fullmatch(words.strip()):
            sections.append([])
        elif words:
            sections[-1].append(words)
    sections = [section for section in sections if section]
    if sections and sections[0][0].strip().startswith("Missing from"):
        return _missing(sections[0][1:])
    sections = [[words.strip() for words in section] for section in sections]
    told = " ".join(sections[0]) if sections else "an argument is refused"
    for pattern, ours in _PHRASES:
        if match := re.fullmatch(pattern, told):
            told = match.expand(ours)
            break
    told = _NONE.sub("", told)
    near = [flag for words in sections[1:2] if words[0].startswith("Perhaps") for flag in _options(words[1:])]
    return f"{told} (did you mean {' or '.join(near)}?)" if near else told


def _missing(lines: Sequence[str]) -> str:
    """What is missing: an argument a line, with its help below it, further in."""
    margin = min(map(_indent, lines), default=0)
    names = [line.strip() for line in lines if _indent(line) == margin]
    names = [match[1] if (match := _MENTIONED.match(name)) else name.partition(" ")[0] for name in names]
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _options(lines: Sequence[str]) -> list[str]:
    """The options that lines of help begin with."""
    return [match[1] for line in lines if (match := _MENTIONED.match(line))]
