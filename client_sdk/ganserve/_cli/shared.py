"""Arguments, errors and output that the SDK's commands share."""

import dataclasses
import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from ganserve._command_line.command import Command
from ganserve._command_line.options import flag
from ganserve._command_line.process import BAD_USAGE, FAILED, UNREACHABLE, printable
from ganserve._errors import GanserveError, InvalidRequest, MissingExtra, ServerUnavailable

# The command line's names of the SDK's arguments, where they differ in more than the dashes.
_ARGUMENTS = {
    "n": "count",
    "steps": "count",
    "name": "model",
    "controls": "control",
    "a": "seed",
    "b": "walk_to",
    "images": "files",
    "path": "out",
}
# How the SDK says what is wrong with a value: is 3; is 'x', and …; 'x' does not exist.
_VALUE = re.compile(r"""(?:is (-?(?:\d[\w.+-]*|inf|nan)); |(?:is )?(['"])(.*?)\2(?:; |, and |, which | ))(.+)""")


@dataclass(frozen=True, kw_only=True)
class ServerArguments:
    """The server that a command talks to."""

    target: str | None = flag(None, metavar="HOST:PORT", last=True)
    """The server. Without it, the environment variable GANSERVE_TARGET, else localhost:50051."""


@dataclass(frozen=True, kw_only=True)
class CallArguments(ServerArguments):
    """Options of a call to the server."""

    timeout_s: float = flag(60.0, last=True)
    """Most seconds to wait for an answer."""


@dataclass(frozen=True, kw_only=True)
class ModelArguments(CallArguments):
    """The model to use there."""

    model: str | None = flag(None, last=True)
    """The model's name. Without it, the environment variable GANSERVE_MODEL, else the server's only model."""
    version: int | None = flag(None, last=True)
    """The model's version. Without it, the latest ready one."""


def command(name: str, arguments: type[Any], action: Callable[[Any], int], examples: tuple[str, ...]) -> Command:
    """Return a command that talks to a server: its errors name flags and have the SDK's exit codes."""
    return Command(
        name=name,
        arguments=arguments,
        action=action,
        examples=examples,
        exit_codes={
            ServerUnavailable: UNREACHABLE,
            InvalidRequest: BAD_USAGE,
            MissingExtra: BAD_USAGE,
            GanserveError: FAILED,
        },
        wording=functools.partial(_in_flags, arguments),
    )


def _in_flags(arguments: type[Any], error: Exception) -> str:
    """Return an error's text with the command's flags in place of the SDK's arguments, as one line."""
    text = str(error).replace('Client("host:port"), ', "").replace("math.inf", "inf")
    known = {field.name for field in dataclasses.fields(arguments)}
    for violation in error.violations if isinstance(error, GanserveError) else ():
        field, wrong = violation.field, violation.description.replace("math.inf", "inf")
        name = _ARGUMENTS.get(field, field)
        flag = field if name not in known else "FILE" if name == "files" else f"--{name.replace('_', '-')}"
        said = f"{flag}: {wrong}"
        if flag.startswith(("--", "FILE")) and (parts := _VALUE.fullmatch(wrong)):
            number, _, word, problem = parts.groups()
            problem = re.sub("^expected", "must be", problem).replace("; expected", ". Give")
            said = f"{flag} {number or word or repr(word)}: {problem}."
        text = text.replace(f"{field}: {wrong}", said)
    return "; ".join(text.splitlines()).replace(".; ", ". ")


def say(text: str) -> None:
    """Write text to stdout, with control characters escaped: names are of servers and files."""
    sys.stdout.write(f"{printable(text)}\n")


def say_json(value: object) -> None:
    """Write a value as JSON to stdout, with all control characters escaped as JSON does."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    say("".join(letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1] for letter in text))


def plain(value: Any) -> Any:
    """Return a value in the types of JSON, from dataclasses, arrays, dates and what they hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns of text, each as wide as its widest cell."""
    lines = [list(header), *(list(map(printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def label_of(text: str, names: Sequence[str]) -> str | int:
    """Return the label that the user means: a name that the model has, else an index if it is a number."""
    return int(text) if text.isdecimal() and text not in names else text
