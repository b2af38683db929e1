"""End process 1 of a container by signals: the kernel discards those for which it has no handler."""

import os
import signal
from types import FrameType


def end_by_signals() -> None:
    """Let SIGTERM and SIGHUP end this process if it is process 1, as they end others, until a handler replaces this."""
    if os.getpid() != 1:
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end_by_signal)


def end_by_signal(number: int, _frame: FrameType | None) -> None:
    """Handle a signal: end at once, with the exit code of a process that it killed."""
    os._exit(128 + number)
