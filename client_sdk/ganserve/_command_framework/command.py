"""Declare a command: parse its arguments, do its work, and turn errors into one line and an exit code."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cyclopts import App

from ganserve._command_framework.options import options_of
from ganserve._command_framework.parsing import app_of, help_of, parse
from ganserve._command_framework.process import DONE, complain, guarded


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
    """Returns the message of such an error."""
    interrupted: str = ""
    """Message after Ctrl-C."""

    def app(self) -> App:
        """Return the command as cyclopts has it."""
        return self._app(texts=True)

    def help(self, argv: Sequence[str]) -> str:  # noqa: ARG002
        """Return what `--help` among these arguments shows."""
        return help_of(self.app(), self.examples)

    def read(self, argv: Sequence[str]) -> Any:
        """Return the arguments as an instance of the dataclass."""
        return self.arguments(**parse(self._app(texts=False), argv))

    def main(self, argv: Sequence[str]) -> int:
        """Run the command and return its exit code."""
        prog = f"ganserve {self.name}"
        try:
            return guarded(prog, lambda: self._run(argv), self.interrupted)
        except tuple(self.exit_codes) as error:
            complain(f"{prog}: error: {self.wording(error)}")
            return next(code for kind, code in self.exit_codes.items() if isinstance(error, kind))

    def _app(self, *, texts: bool) -> App:
        options = options_of(self.arguments, texts=texts)
        return app_of(f"ganserve {self.name}", options, inspect.getdoc(self.arguments) or "")

    def _run(self, argv: Sequence[str]) -> int:
        words = [word.partition("=")[0] for word in (argv[: argv.index("--")] if "--" in argv else argv)]
        if {"-h", "--help", "--help-all"}.isdisjoint(words):
            return self.action(self.read(argv))
        sys.stdout.write(self.help(argv))
        return DONE
