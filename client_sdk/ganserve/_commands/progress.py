"""A progress bar on a terminal; nothing in a pipe, a file or a log."""

import shutil
import sys
import time
from typing import Self, TextIO

_REDRAW_S = 0.1
_WIDTH = 30
_ERASE = "\r\x1b[2K"


class Progress:
    """A bar with text, by default on stderr; a context manager that erases it at the end."""

    def __init__(self, total: float, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._drawn = float("-inf")

    def show(self, done: float, words: str) -> None:
        """Draw the bar again, with this much of the total done, unless it was drawn a moment ago."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < _REDRAW_S:
            return
        self._drawn = now
        part = min(1.0, done / self._total) if self._total else 1.0
        full = round(part * _WIDTH)
        line = f"[{'#' * full}{'.' * (_WIDTH - full)}] {part:4.0%}  {words}"
        # A line that wraps could not be erased.
        self._stream.write(f"{_ERASE}{line[: shutil.get_terminal_size().columns - 1]}")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._shown and self._drawn > float("-inf"):
            self._stream.write(_ERASE)
            self._stream.flush()
