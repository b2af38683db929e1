"""A command's arguments: as all commands of ganserve parse them, with training's error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ganserve._command_line import UsageError
from ganserve._command_line import parse as parse_arguments
from ganserve_training.errors import ConfigError

ArgumentsT = TypeVar("ArgumentsT")


def parse(kind: type[ArgumentsT], argv: Sequence[str], prog: str, **options: Any) -> ArgumentsT:
    """The command's arguments; `--help` writes and ends the process.

    Args:
        kind: Their dataclass.
        argv: The command's arguments.
        prog: The command, such as `ganserve report`.
        options: `examples`, and further ones of `tyro.cli`.

    Raises:
        ConfigError: An argument is refused; the message is one line.
    """
    try:
        return parse_arguments(kind, argv, prog, **options)
    except UsageError as error:
        raise ConfigError(str(error)) from None
