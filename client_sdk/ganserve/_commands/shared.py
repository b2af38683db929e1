"""Arguments, errors and output that the SDK's commands share."""

import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ganserve._command_framework.command import Command
from ganserve._command_framework.options import flag
from ganserve._command_framework.process import BAD_USAGE, FAILED, UNREACHABLE, printable
from ganserve._errors import GanserveError, InvalidRequest, MissingExtra, ServerUnavailable
from ganserve._tls import tls_of
from ganserve._token import read_token

# The command line's names of the SDK's arguments, where they differ in more than the dashes.
_ARGUMENTS = {
    "n": "count",
    "steps": "count",
    "name": "model",
    "controls": "control",
    "a": "seed",
    "b": "walk_to",
    "images": "files",
    "picture": "files",
    "path": "out",
    "tls.ca": "tls_ca",
    "tls.certificate": "tls_client_certificate",
    "tls.key": "tls_client_key",
    "tls.server_name": "tls_server_name",
}
# How the SDK says what is wrong with a value: is 3; is 'x', and …; 'x' does not exist.
_VALUE = re.compile(r"""(?:is (-?(?:\d[\w.+-]*|inf|nan)); |(?:is )?(['"])(.*?)\2(?:; |, and |, which | ))(.+)""")


@dataclass(frozen=True, kw_only=True)
class ServerArguments:
    """The server that a command talks to."""

    target: str | None = flag(None, metavar="HOST:PORT", last=True)
    """The server. Without it, the environment variable GANSERVE_TARGET, else localhost:50051."""
    tls: bool | None = flag(None, last=True)
    """Encrypt the calls. Without it, the environment variable GANSERVE_TLS (1 or 0), else if another option of TLS is
    given."""
    tls_ca: Path | None = flag(None, metavar="FILE", last=True)
    """PEM file of the authorities that may sign the server's certificate. Without it, the environment variable
    GANSERVE_TLS_CA, else gRPC's list of public authorities."""
    tls_client_certificate: Path | None = flag(None, metavar="FILE", last=True)
    """PEM file of the certificate to show to the server. Without it, GANSERVE_TLS_CLIENT_CERTIFICATE."""
    tls_client_key: Path | None = flag(None, metavar="FILE", last=True)
    """PEM file of its private key. Without it, GANSERVE_TLS_CLIENT_KEY."""
    tls_server_name: str | None = flag(None, metavar="NAME", last=True)
    """Name that the server's certificate must have. Without it, GANSERVE_TLS_SERVER_NAME, else the target's host."""

    token_file: Path | None = flag(None, metavar="FILE", last=True)
    """File with the token that shows the server who calls. Without it, the environment variable GANSERVE_TOKEN."""
    token_over_plain_text: bool = flag(False, last=True, opposite=False)
    """Send the token without encryption to another machine, too: whoever is on the way can read and use it."""

    @property
    def connection(self) -> dict[str, Any]:
        """The options of `Client` and `AsyncClient` that say how to connect, besides the target."""
        given = (self.tls_ca, self.tls_client_certificate, self.tls_client_key, self.tls_server_name)
        return {
            "tls": tls_of(*given, switch=self.tls),
            "token": read_token(self.token_file),
            "token_over_plain_text": self.token_over_plain_text,
        }


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
    known = {field.name for field in fields(arguments)}
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
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
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
