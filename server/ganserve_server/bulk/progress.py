"""Show how far a job is: a bar on a terminal, else a line a minute, as a log wants it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_LINE_EVERY_S = 60.0


@contextlib.contextmanager
def progress(total: int, done: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of further samples, or other units, and show their sum on stderr.

    `done` of the `total` were made before.
    """
    if sys.stderr.isatty():
        with _bar(total, done, unit) as tell:
            yield tell
        return
    started = said = time.monotonic()
    made = 0

    def count(more: int) -> None:
        nonlocal made, said
        made += more
        now = time.monotonic()
        if now - said >= _LINE_EVERY_S:
            said = now
            rate = made / (now - started)
            left = max(0, total - done - made) / rate
            sys.stderr.write(f"{done + made:,} of {total:,} {unit}, {_rate(rate)} a second, {_span(left)} left\n")
            sys.stderr.flush()

    yield count


@contextlib.contextmanager
def _bar(total: int, done: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    counts = TextColumn(f"{{task.completed:,}} of {{task.total:,}} {unit}")
    speed = TextColumn("{task.fields[rate]}/s")
    columns = (BarColumn(), TaskProgressColumn(), counts, speed, TimeRemainingColumn())
    started, made = time.monotonic(), 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=total, completed=done, rate="0")

        def count(more: int) -> None:
            nonlocal made
            made += more
            shown.update(task, advance=more, rate=_rate(made / max(time.monotonic() - started, 1e-3)))

        yield count


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
