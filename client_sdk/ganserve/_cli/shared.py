"""What the SDK's commands have in common: arguments, errors, output."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
import tyro

from ganserve import _command_line
from ganserve._cli import BAD_USAGE, BROKEN_PIPE, FAILED, INTERRUPTED, UNREACHABLE
from ganserve._command_line import UsageError
from ganserve._errors import GanserveError, InvalidRequest, MissingExtra, ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ArgumentsT = TypeVar("ArgumentsT")

# What the SDK's arguments are called on the command line, where that differs in more than the dashes.
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

Text = Annotated[str | None, tyro.conf.arg(metavar="TEXT")]
Target = Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")]


def parse(kind: type[ArgumentsT], argv: Sequence[str], command: str, examples: Sequence[str]) -> ArgumentsT:
    """A command's arguments; the dataclass's docstrings are its help.

    Raises:
        UsageError: They are wrong.
        SystemExit: They ask for help, which is written.
    """
    return _command_line.parse(
        kind,
        argv,
        f"ganserve {command}",
        examples=examples,
        description=inspect.getdoc(kind),
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def run(
    kind: type[ArgumentsT],
    argv: Sequence[str],
    command: str,
    examples: Sequence[str],
    action: Callable[[ArgumentsT], int],
) -> int:
    """Parse a command's arguments and does its work; an error that is expected becomes one line and an exit code."""
    try:
        return action(parse(kind, argv, command, examples))
    except KeyboardInterrupt:
        return INTERRUPTED
    except (
        BrokenPipeError
    ):  # `ganserve models | head -1`: nobody reads the rest, nor what Python would flush at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except UsageError as error:
        sys.stderr.write(f"ganserve {command}: error: {error}\n")
        return BAD_USAGE
    except (GanserveError, OSError) as error:
        text = "; ".join(_in_flags(error, kind).splitlines())
        sys.stderr.write(f"ganserve {command}: error: {text}\n")
        if isinstance(error, ServerUnavailable):
            return UNREACHABLE
        return BAD_USAGE if isinstance(error, InvalidRequest | MissingExtra) else FAILED


def _in_flags(error: Exception, kind: type[Any]) -> str:
    """An error's text, with the names of a command's arguments for those of the SDK's."""
    text = str(error)
    arguments = {field.name for field in dataclasses.fields(kind)}
    for violation in error.violations if isinstance(error, GanserveError) else ():
        name = _ARGUMENTS.get(violation.field, violation.field)
        if name in arguments:
            flag = "FILE" if name == "files" else f"--{name.replace('_', '-')}"
            said = f"{violation.field}: {violation.description}"
            text = text.replace(said, f"{flag}: {violation.description}")
    return text


def say(text: str) -> None:
    """Write a line to stdout."""
    sys.stdout.write(f"{text}\n")


def say_json(value: object) -> None:
    """Write a value as JSON to stdout."""
    say(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """A value as JSON has it: of dataclasses, arrays, dates and what they hold."""
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
    """Columns of text, each as wide as its widest cell."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def label_of(text: str, names: Sequence[str]) -> str | int:
    """The label that the command line means: a name that the model has, else an index if it is a number."""
    return int(text) if text.isdecimal() and text not in names else text
