"""Show the progress of training: a bar on a terminal, a line from time to time elsewhere."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PLAIN_INTERVAL_S = 10.0


class BarProgress:
    """Draw a bar with losses, critic accuracy, speed and the remaining time."""

    def __init__(self, console: Console, first_step: int, steps: int) -> None:
        self._progress = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=10),
            TimeRemainingColumn(),
            TextColumn("{task.fields[measures]}"),
            console=console,
        )
        self._task = self._progress.add_task("train", total=steps, completed=first_step, measures="")
        self._progress.start()

    def show(self, step: int, record: Mapping[str, float]) -> None:
        """Move the bar to `step`."""
        measures = (
            f"loss D {record['critic_loss']:.3f} G {record['generator_loss']:.3f}  "
            f"D right {record['critic_accuracy']:.0%}  {record['samples_per_second']:,.0f}/s"
        )
        self._progress.update(self._task, completed=step, measures=measures)

    def say(self, message: str) -> None:
        """Print above the bar."""
        self._progress.console.print(message, markup=False, emoji=False, highlight=False)

    def close(self) -> None:
        """Stop drawing."""
        self._progress.stop()


class PlainProgress:
    """Print a line at the first record, then at most one every ten seconds: for log files and CI."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console = console
        self._steps = steps
        self._started = time.monotonic()
        self._first: int | None = None
        self._last_shown = -_PLAIN_INTERVAL_S

    def show(self, step: int, record: Mapping[str, float]) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._started = step, now
        if now - self._last_shown < _PLAIN_INTERVAL_S and step < self._steps:
            return
        self._last_shown = now
        left = ""
        if self._first < step < self._steps:
            remaining = (now - self._started) / (step - self._first) * (self._steps - step)
            left = f"  {remaining:.0f} s left"
        self.say(
            f"step {step}/{self._steps}  critic loss {record['critic_loss']:.3f}  "
            f"generator loss {record['generator_loss']:.3f}  critic accuracy {record['critic_accuracy']:.0%}  "
            f"{record['samples_per_second']:,.0f} samples/s{left}"
        )

    def say(self, message: str) -> None:
        """Print a line."""
        self._console.print(message, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Do nothing."""


def open_progress(console: Console, first_step: int, steps: int) -> BarProgress | PlainProgress:
    """Return the view that fits the console."""
    return BarProgress(console, first_step, steps) if console.is_terminal else PlainProgress(console, steps)
