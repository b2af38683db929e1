"""Run a command: parse its arguments, do its work, and turn errors into one line and an exit code."""

import _thread
import inspect
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ganserve._command_line.help import HELP, entries, help_text
from ganserve._command_line.options import Option, UsageError, build, options_of

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
    """Returns the message of such an error."""
    interrupted: str = ""
    """Message after Ctrl-C."""

    @property
    def prog(self) -> str:
        """The command as users write it."""
        return f"ganserve {self.name}"

    def options(self) -> list[Option]:
        """Return the command's options."""
        return options_of(self.arguments)

    def cases(self) -> dict[str, list[Option]]:
        """Return the values of the first argument that have their own options, with these."""
        return {}

    def help(self, argv: Sequence[str]) -> str:  # noqa: ARG002
        """Return what `--help` among these arguments shows."""
        places = [option for option in self.options() if not option.flags]
        flags = [option for option in self.options() if option.flags]
        sections = {"arguments": entries(places)} if places else {}
        sections["options"] = entries(flags) | HELP
        usage = " ".join([self.prog, *(option.metavar for option in places), "[OPTIONS]"])
        return help_text(usage, inspect.getdoc(self.arguments) or "", sections, self.examples)

    def read(self, argv: Sequence[str]) -> Any:
        """Return the arguments as an instance of the dataclass."""
        from ganserve._command_line.parsing import parse  # Loads cyclopts, which help does not need.

        return build(self.arguments, parse(self.options(), argv, self.prog, self.examples[0]))

    def main(self, argv: Sequence[str]) -> int:
        """Run the command and return its exit code."""
        codes: dict[type[Exception], int] = {UsageError: BAD_USAGE, **self.exit_codes}
        try:
            return guarded(self.prog, lambda: self._run(argv), self.interrupted)
        except tuple(codes) as error:
            complain(f"{self.prog}: error: {error if isinstance(error, UsageError) else self.wording(error)}")
            return next(code for kind, code in codes.items() if isinstance(error, kind))

    def _run(self, argv: Sequence[str]) -> int:
        words = [word.partition("=")[0] for word in (argv[: argv.index("--")] if "--" in argv else argv)]
        if {"-h", "--help", "--help-all"}.isdisjoint(words):
            return self.action(self.read(argv))
        sys.stdout.write(self.help(argv))
        return DONE


def guarded(prog: str, work: Callable[[], int], interrupted: str = "") -> int:
    """Do some work and return its exit code, also where the user, a reader or the operating system stops it."""
    _open_closed_streams()
    try:
        with _no_interruption_lost():
            code = work()
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if interrupted:
            complain(f"{prog}: {interrupted}")
        return INTERRUPTED
    except BrokenPipeError:  # A reader such as `head` has gone: discard what Python would write at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        where = error.filename or "standard output"
        complain(f"{prog}: error: {where}: {error.strerror}" if error.strerror else f"{prog}: error: {error}")
        return FAILED


@contextmanager
def _no_interruption_lost() -> Iterator[None]:
    """Send a Ctrl-C again that Python ignored because it came in a destructor or the callback of a weak reference.

    Each import has such a callback, so that a single Ctrl-C would often be lost.
    """
    before, lost, main = sys.unraisablehook, list[bool](), threading.main_thread().ident or 0

    def look(ignored: "sys.UnraisableHookArgs") -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            lost.append(True)
            _thread.start_new_thread(send_again, ())
        else:
            before(ignored)

    def send_again() -> None:
        time.sleep(0.01)  # By then the destructor has probably ended.
        # An exception in `look` would be lost.
        while sys._current_frames()[main].f_code is look.__code__:  # noqa: SLF001
            time.sleep(0.001)
        if lost:
            lost.clear()
            # A signal, as only that ends a wait of the main thread; Windows has none and waits for its end.
            signal.pthread_kill(main, signal.SIGINT) if hasattr(signal, "pthread_kill") else _thread.interrupt_main()

    sys.unraisablehook = look
    try:
        yield
        if lost:
            raise KeyboardInterrupt
    finally:
        lost.clear()
        sys.unraisablehook = before


def printable(text: str) -> str:
    """Return a text with its control characters escaped: foreign text must not control the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def complain(line: str) -> None:
    """Write a line to stderr, or nothing where stderr cannot be written."""
    try:
        sys.stderr.write(f"{printable(line)}\n")
        sys.stderr.flush()
    except OSError:
        pass


def _open_closed_streams() -> None:
    """Point standard streams that the caller closed (`>&-`) to the null device, so that no file takes their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # The lowest number that is free, which is this stream's.
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):  # Names of files that are not UTF-8 are printed as they are.
        sys.stdout.reconfigure(errors="surrogateescape")
