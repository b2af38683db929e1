"""Do a command's work in this process: its exit code, its standard streams, and Ctrl-C."""

import _thread
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ganserve._command_framework.first_process import end_by_signals
from ganserve._command_framework.options import UsageError

DONE, FAILED, BAD_USAGE, UNREACHABLE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141


def guarded(prog: str, work: Callable[[], int], interrupted: str = "") -> int:
    """Do some work and return its exit code, also where the user, a reader or the operating system stops it."""
    end_by_signals()
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
    except UsageError as error:
        complain(f"{prog}: error: {error}")
        return BAD_USAGE
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
    with suppress(OSError):
        sys.stderr.write(f"{printable(line)}\n")
        sys.stderr.flush()


def _open_closed_streams() -> None:
    """Point standard streams that the caller closed (`>&-`) to the null device, so that no file takes their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # The lowest number that is free, which is this stream's.
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):  # Names of files that are not UTF-8 are printed as they are.
        sys.stdout.reconfigure(errors="surrogateescape")
