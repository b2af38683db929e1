"""Run a command: parse its arguments, do its work, and turn what goes wrong into one line and an exit code."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganserve._command_line.help import help_text
from ganserve._command_line.options import Option, UsageError, build, options_of
from ganserve._command_line.parsing import parse

DONE, FAILED, BAD_USAGE, UNREACHABLE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the command line."""

    name: str
    arguments: type[Any]
    """The dataclass of its arguments; its docstring is the command's description."""
    action: Callable[[Any], int]
    """Does the work and returns the exit code."""
    examples: tuple[str, ...]
    exit_codes: Mapping[type[Exception], int] = field(default_factory=dict)
    """Errors that become one line, and their exit codes; subclasses come before their base."""
    wording: Callable[[Exception], str] = str
    """Puts such an error into words."""
    interrupted: str = ""
    """What to say after Ctrl-C."""

    @property
    def prog(self) -> str:
        """The command as users write it."""
        return f"ganserve {self.name}"

    def options(self) -> list[Option]:
        """Return the command's options."""
        return options_of(self.arguments)

    def cases(self) -> dict[str, list[Option]]:
        """Return the values of the first argument that have options of their own, with these."""
        return {}

    def help(self, argv: Sequence[str]) -> str:  # noqa: ARG002
        """Return what `--help` among these arguments shows."""
        return help_text(self.prog, inspect.getdoc(self.arguments) or "", {"options": self.options()}, self.examples)

    def read(self, argv: Sequence[str]) -> Any:
        """Return the arguments as an instance of the dataclass.

        Raises:
            UsageError: They are wrong.
        """
        return build(self.arguments, parse(self.options(), argv, self.prog, self.examples[0]))

    def main(self, argv: Sequence[str]) -> int:
        """Run the command and return its exit code."""
        open_closed_streams()
        try:
            if {"-h", "--help", "--help-all"} & set(argv[: argv.index("--")] if "--" in argv else argv):
                sys.stdout.write(self.help(argv))
                code = DONE
            else:
                code = self.action(self.read(argv))
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            if self.interrupted:
                complain(f"{self.prog}: {self.interrupted}")
            return INTERRUPTED
        except BrokenPipeError:
            return leave_broken_pipe()
        except UsageError as error:
            complain(f"{self.prog}: error: {error}")
            return BAD_USAGE
        except (*self.exit_codes, OSError) as error:
            known = isinstance(error, tuple(self.exit_codes))
            complain(f"{self.prog}: error: {self.wording(error) if known else describe(error)}")
            return next((code for kind, code in self.exit_codes.items() if isinstance(error, kind)), FAILED)


def complain(line: str) -> None:
    """Write a line to stderr, or nothing where stderr cannot be written."""
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except OSError:
        pass


def describe(error: Exception) -> str:
    """Return an error of the operating system with the file that it is about."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename or 'standard output'}: {error.strerror}"


def leave_broken_pipe() -> int:
    """Discard what is still to be written after a reader such as `head` has gone, and return the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def open_closed_streams() -> None:
    """Point standard streams that the caller closed (`>&-`) to the null device, so that no file takes their place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="replace", closefd=False))
